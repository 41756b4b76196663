"""The names that the platform's part of a database goes by: schemas and roles.

What belongs here: fixed names, for statements that compose them. What stays out: making any of them (`installation.py`).
"""

# Tables that are loaded and checked and that nobody sees yet.
STAGING_SCHEMA = "geo_staging"

# Tables that were published once and are kept for a while.
REPLACED_SCHEMA = "geo_replaced"

# Kept versions of items, provenance, and which version of the installation this is.
OWN_SCHEMA = "geo_platform"

PGSTAC_SCHEMA = "pgstac"

# Where tables are published unless a request names another schema.
PUBLISHED_SCHEMA = "geo"

# Owns every table that was loaded, whoever loaded it: a transaction that loads or publishes begins
# with SET LOCAL ROLE.
LOADER_ROLE = "geo_loader"

# Reads published tables and the catalog.
READER_ROLE = "geo_reader"

# Where nothing may be published: ours, pgSTAC's and the server's.
RESERVED_SCHEMAS = frozenset(
    {
        STAGING_SCHEMA,
        REPLACED_SCHEMA,
        OWN_SCHEMA,
        PGSTAC_SCHEMA,
        "public",
        "information_schema",
        "topology",
    }
)
