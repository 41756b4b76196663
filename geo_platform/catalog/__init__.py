"""STAC collections and items: built without touching a store, then published through the Catalog port."""
