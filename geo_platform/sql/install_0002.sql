-- Version 2: what one run published and unpublished is found by its id, without reading the whole account.
-- By item (collection, item_id, entry) and by version of a table it is found since version 1.
CREATE INDEX IF NOT EXISTS provenance_run ON geo_platform.provenance (run_id, entry);
