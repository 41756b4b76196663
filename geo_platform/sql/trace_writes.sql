-- What a run published and unpublished, and what happened later to the versions that it published.
-- Entries are found by run and by item, each with an index, so that this is fast in a large table.
WITH own AS (
    SELECT collection, item_id, fingerprint, min(entry) AS entry
    FROM geo_platform.provenance
    WHERE run_id = %(run_id)s AND action = 'publish'
    GROUP BY collection, item_id, fingerprint
),
entries AS (
    SELECT entry FROM geo_platform.provenance WHERE run_id = %(run_id)s
    UNION
    SELECT since.entry
    FROM own
    JOIN geo_platform.provenance AS since USING (collection, item_id)
    WHERE own.entry < since.entry
        AND (
            own.fingerprint IN (since.fingerprint, since.replaced_fingerprint)
            OR since.replaced_run_id = %(run_id)s
        )
)
SELECT
    happened_at, action, run_id, collection, item_id, fingerprint, table_schema, table_name,
    table_version,
    replaced_fingerprint, replaced_run_id, replaced_table_version, login
FROM entries
JOIN geo_platform.provenance USING (entry)
ORDER BY entry
