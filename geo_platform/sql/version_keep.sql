-- Keep an item that is replaced or unpublished. If this version is kept already, because it
-- was restored and is now withdrawn again, its row is updated.
INSERT INTO geo_platform.item_versions (collection, item_id, fingerprint, run_id, item,
    withdrawn_by_run)
VALUES (%(collection)s, %(item_id)s, %(fingerprint)s, %(run_id)s, %(item)s::jsonb, %(by_run)s)
ON CONFLICT (collection, item_id, fingerprint, run_id) DO UPDATE
SET item = EXCLUDED.item, withdrawn_at = EXCLUDED.withdrawn_at,
    withdrawn_by_run = EXCLUDED.withdrawn_by_run
