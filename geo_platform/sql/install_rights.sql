-- Who may do what; said anew by each installation, so that a right that was lost comes back.
-- geo_loader owns what is loaded. geo_reader reads what is published: it has SELECT on staged and replaced tables too, so
-- that moving a table publishes it, but no way into the schemas where they lie.
GRANT pgstac_ingest TO geo_loader;
GRANT pgstac_read TO geo_reader;

REVOKE ALL ON SCHEMA geo_staging, geo_replaced, geo_platform FROM PUBLIC, geo_loader, geo_reader;
GRANT USAGE, CREATE ON SCHEMA geo_staging, geo_replaced TO geo_loader;
GRANT USAGE ON SCHEMA geo_platform TO geo_loader, geo_reader;

REVOKE ALL ON ALL TABLES IN SCHEMA geo_platform FROM PUBLIC, geo_loader, geo_reader;
GRANT SELECT ON geo_platform.installation TO geo_loader, geo_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON geo_platform.item_versions TO geo_loader;
GRANT SELECT, INSERT ON geo_platform.provenance TO geo_loader;
-- A listing goes by when each item was published; who did it and out of what is not the readers'.
GRANT SELECT (entry, happened_at, action, collection, item_id) ON geo_platform.provenance TO geo_reader;

ALTER DEFAULT PRIVILEGES FOR ROLE geo_loader IN SCHEMA geo_staging GRANT SELECT ON TABLES TO geo_reader;

-- A CRS without a code is written down where PostGIS, QGIS and GDAL look for it; nobody's row is changed. Only the owner of
-- the extension can give this right: PostgreSQL warns where that is somebody else, and the check says so.
GRANT SELECT, INSERT ON public.spatial_ref_sys TO geo_loader;
