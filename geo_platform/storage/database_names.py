"""The names that the platform's part of a database goes by: schemas and roles.

What belongs here: fixed names, for statements that compose them. What stays out: making any of them (`installation.py`).
"""

STAGING_SCHEMA = "geo_staging"
"""Tables that are loaded and checked and that nobody sees yet."""

REPLACED_SCHEMA = "geo_replaced"
"""Tables that were published once and are kept for a while."""

OWN_SCHEMA = "geo_platform"
"""Kept versions of items, provenance, and which version of the installation this is."""

PGSTAC_SCHEMA = "pgstac"

PUBLISHED_SCHEMA = "geo"
"""Where tables are published unless a request names another schema."""

LOADER_ROLE = "geo_loader"
"""Owns every table that was loaded, whoever loaded it: a transaction that loads or publishes begins with SET LOCAL ROLE."""

READER_ROLE = "geo_reader"
"""Reads published tables and the catalog."""

RESERVED_SCHEMAS = frozenset({STAGING_SCHEMA, REPLACED_SCHEMA, OWN_SCHEMA, PGSTAC_SCHEMA, "public", "information_schema", "topology"})
"""Where nothing may be published: ours, pgSTAC's and the server's."""
