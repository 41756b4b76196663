-- What a run published and unpublished; and of the versions that it published, what came of them since.
WITH own AS (
    SELECT collection, item_id, fingerprint, min(entry) AS entry
    FROM geo_platform.provenance
    WHERE run_id = %(run_id)s AND action = 'publish'
    GROUP BY collection, item_id, fingerprint
)
SELECT
    happened_at, action, run_id, collection, item_id, fingerprint, table_schema, table_name, table_version,
    replaced_fingerprint, replaced_run_id, replaced_table_version, login
FROM geo_platform.provenance AS p
WHERE p.run_id = %(run_id)s
    OR EXISTS (
        SELECT FROM own
        WHERE own.collection = p.collection AND own.item_id = p.item_id AND own.entry < p.entry
            AND (own.fingerprint IN (p.fingerprint, p.replaced_fingerprint) OR p.replaced_run_id = %(run_id)s)
    )
ORDER BY p.entry
