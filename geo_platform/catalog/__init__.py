"""STAC items and collections: build, validate, publish, unpublish, roll back and remove them."""
