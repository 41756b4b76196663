-- The rights of the roles. Each installation grants them again, which restores lost rights.
-- geo_loader owns the loaded tables. geo_reader reads published tables. It also has SELECT on
-- staged and replaced tables, so that moving a table publishes it, but no USAGE on their schemas.
GRANT pgstac_ingest TO geo_loader;
GRANT pgstac_read TO geo_reader;

REVOKE ALL ON SCHEMA geo_staging, geo_replaced, geo_platform FROM PUBLIC, geo_loader, geo_reader;
GRANT USAGE, CREATE ON SCHEMA geo_staging, geo_replaced TO geo_loader;
GRANT USAGE ON SCHEMA geo_platform TO geo_loader, geo_reader;

REVOKE ALL ON ALL TABLES IN SCHEMA geo_platform FROM PUBLIC, geo_loader, geo_reader;
GRANT SELECT ON geo_platform.installation TO geo_loader, geo_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON geo_platform.item_versions TO geo_loader;
GRANT SELECT, INSERT ON geo_platform.provenance TO geo_loader;
-- Listings need when each item was published. Readers may not see who published it, or from what.
GRANT SELECT (entry, happened_at, action, collection, item_id)
    ON geo_platform.provenance TO geo_reader;

ALTER DEFAULT PRIVILEGES FOR ROLE geo_loader IN SCHEMA geo_staging
    GRANT SELECT ON TABLES TO geo_reader;

-- A CRS without a code is added where PostGIS, QGIS and GDAL look for it; existing rows are not
-- changed. Only the owner of the extension can grant this. If that is somebody else, PostgreSQL
-- only warns, and `geo-platform database check` reports it.
GRANT SELECT, INSERT ON public.spatial_ref_sys TO geo_loader;
