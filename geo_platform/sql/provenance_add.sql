-- Add one row for each publication and withdrawal. Rows are never changed.
INSERT INTO geo_platform.provenance (
    action, run_id, collection, item_id, fingerprint, source_uri, source_etag,
    table_schema, table_name, table_version, replaced_fingerprint, replaced_run_id,
    replaced_table_version
)
VALUES (
    %(action)s, %(run_id)s, %(collection)s, %(item_id)s, %(fingerprint)s, %(source_uri)s,
    %(source_etag)s,
    %(table_schema)s, %(table_name)s, %(table_version)s, %(replaced_fingerprint)s,
    %(replaced_run_id)s, %(replaced_table_version)s
)
