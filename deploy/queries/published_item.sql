-- Runs that published an item, found it unchanged, or withdrew it, newest first. ITEM is COLLECTION/ID.
-- psql "$GEO_PLATFORM_DAGSTER_POSTGRES_URL" -v item=rasters/scene -f deploy/queries/published_item.sql
WITH reported AS (
    SELECT id, run_id, "timestamp" AS at_utc,
           jsonb_path_query_first(event::jsonb, '$.dagster_event.event_specific_data.metadata_entries[*] ? (@.label == "checkpoint").entry_data.text') #>> '{}' AS checkpoint,
           jsonb_path_query_first(event::jsonb, '$.dagster_event.event_specific_data.metadata_entries[*] ? (@.label == "details").entry_data.data') AS details
    FROM event_logs
    WHERE dagster_event_type = 'ENGINE_EVENT'
)
SELECT reported.at_utc, reported.run_id, runs.pipeline_name AS job, runs.partition, runs.status, reported.checkpoint
FROM reported
JOIN runs USING (run_id)
WHERE checkpoint IN ('SWAP_COMMITTED', 'ITEM_PUBLISHED', 'ITEM_UNCHANGED', 'ITEM_UNPUBLISHED')
  AND concat_ws('/', details ->> 'collection', details ->> 'item_id') = :'item'
ORDER BY reported.id DESC;
