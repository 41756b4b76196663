"""Tiles and pictures of published rasters, and the values under them."""
