"""Adapters of the ports on PostgreSQL with PostGIS and pgSTAC, which share one transaction."""
