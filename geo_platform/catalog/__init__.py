"""STAC items and collections: build them, publish them through the Catalog port, undo that."""
