-- Which runs published an item, found it unchanged, or took it away, newest first. ITEM is COLLECTION/ID.
-- psql "$GEO_PLATFORM_DAGSTER_POSTGRES_URL" -v item=rasters/scene -f deploy/queries/published_item.sql
SELECT event_logs."timestamp" AS at_utc,
       event_logs.run_id,
       runs.pipeline_name AS job,
       runs.partition,
       runs.status,
       substring(event::json ->> 'user_message' FROM '^[A-Z_]+') AS checkpoint
FROM event_logs
JOIN runs USING (run_id)
WHERE dagster_event_type IS NULL
  AND event::json ->> 'user_message' IN (
      'SWAP_COMMITTED ' || :'item', 'ITEM_PUBLISHED ' || :'item', 'ITEM_UNCHANGED ' || :'item', 'ITEM_UNPUBLISHED ' || :'item')
ORDER BY event_logs.id DESC;
