"""The names of the platform's schemas and roles in a database. `installation.py` creates them."""

# Tables that are loaded but not published: readers do not see them.
STAGING_SCHEMA = "geo_staging"

# Tables that were published and then replaced or unpublished, and are kept for a while.
REPLACED_SCHEMA = "geo_replaced"

# Kept versions of items, provenance, and the version of the installation.
OWN_SCHEMA = "geo_platform"

PGSTAC_SCHEMA = "pgstac"

# The schema of published tables, unless a request names another one.
PUBLISHED_SCHEMA = "geo"

# Owns every loaded table, whichever login loaded it: a transaction that loads or publishes begins
# with SET LOCAL ROLE.
LOADER_ROLE = "geo_loader"

# Reads published tables and the catalog.
READER_ROLE = "geo_reader"

# Schemas in which nothing may be published: those of the platform, of pgSTAC and of the server.
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
