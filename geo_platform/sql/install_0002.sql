-- Version 2: an index on the run id. Collection, item and table version have indexes since version
-- 1.
CREATE INDEX IF NOT EXISTS provenance_run ON geo_platform.provenance (run_id, entry);
