"""Readers of vector sources: CSV, OGR drivers, GeoParquet."""
