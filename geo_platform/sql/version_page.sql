-- A page of kept versions, latest withdrawn first, after the last row of the page before.
SELECT collection, item_id, fingerprint, run_id, withdrawn_at, item::text
FROM geo_platform.item_versions
WHERE (%(collection)s::text IS NULL OR collection = %(collection)s)
    AND (%(item_id)s::text IS NULL OR item_id = %(item_id)s)
    AND (
        %(after_at)s::timestamptz IS NULL
        OR (withdrawn_at, collection, item_id, fingerprint, run_id)
            < (%(after_at)s, %(after_collection)s, %(after_item_id)s, %(after_fingerprint)s,
                %(after_run_id)s)
    )
ORDER BY withdrawn_at DESC, collection DESC, item_id DESC, fingerprint DESC, run_id DESC
LIMIT %(rows)s
