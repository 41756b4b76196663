"""The names of the platform's schemas and roles in a database. `installation.py` creates them.

Used by `cli/commands` and `storage/postgres`.
"""

# Tables that are loaded but not published yet. Readers have no access to this schema.
STAGING_SCHEMA = "geo_staging"

# Tables that were published, and then replaced or unpublished. They are kept for
# GEO_PLATFORM_KEEP_REPLACED_DAYS.
REPLACED_SCHEMA = "geo_replaced"

# Kept versions of items, provenance, and the version of the installation.
OWN_SCHEMA = "geo_platform"

PGSTAC_SCHEMA = "pgstac"

# The schema of published tables, unless a request names another one.
PUBLISHED_SCHEMA = "geo"

# The owner of every loaded table. A transaction that loads or publishes begins with SET LOCAL ROLE,
# so that the owner does not depend on the login.
LOADER_ROLE = "geo_loader"

# The role that may read published tables and the catalog.
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
