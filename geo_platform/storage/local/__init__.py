"""Adapters of the ports on a folder of this machine: objects, GeoParquet, a static STAC catalog."""
