-- Version 1 of the platform's schemas and tables. Do not change this file: a new version adds one.
CREATE SCHEMA IF NOT EXISTS geo_staging;
COMMENT ON SCHEMA geo_staging IS 'Tables that are loaded and checked and not published yet';
CREATE SCHEMA IF NOT EXISTS geo_replaced;
COMMENT ON SCHEMA geo_replaced IS 'Tables that were published once and are kept for a while';

CREATE TABLE geo_platform.item_versions (
    collection text NOT NULL,
    item_id text NOT NULL,
    fingerprint text NOT NULL,
    run_id text NOT NULL,
    item jsonb NOT NULL,
    collection_document jsonb,
    withdrawn_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    withdrawn_by_run text NOT NULL,
    PRIMARY KEY (collection, item_id, fingerprint, run_id)
);
CREATE INDEX item_versions_withdrawn_at ON geo_platform.item_versions (withdrawn_at);
COMMENT ON TABLE geo_platform.item_versions IS 'Items that were published once: replaced or unpublished, and kept for a while';

CREATE TABLE geo_platform.provenance (
    entry bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    happened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    action text NOT NULL CHECK (action IN ('publish', 'unpublish')),
    login text NOT NULL DEFAULT session_user,
    run_id text NOT NULL,
    collection text NOT NULL,
    item_id text NOT NULL,
    fingerprint text NOT NULL,
    source_uri text,
    source_etag text,
    table_schema text,
    table_name text,
    table_version text,
    replaced_fingerprint text,
    replaced_run_id text,
    replaced_table_version text
);
CREATE INDEX provenance_item ON geo_platform.provenance (collection, item_id, entry);
CREATE INDEX provenance_table ON geo_platform.provenance (table_version) WHERE table_version IS NOT NULL;
COMMENT ON TABLE geo_platform.provenance IS 'Append-only: each publishing and unpublishing, by whom, by which run, and what it replaced';
