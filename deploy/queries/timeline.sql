-- One run in order of time: checkpoints, transitions and engine events. `said` is the text of the entry.
-- psql "$GEO_PLATFORM_DAGSTER_POSTGRES_URL" -v run_id=RUN -f deploy/queries/timeline.sql
WITH reported AS (
    SELECT id, "timestamp" AS at_utc, step_key AS stage, dagster_event_type AS event_type,
           jsonb_path_query_first(event::jsonb, '$.dagster_event.event_specific_data.metadata_entries[*] ? (@.label == "checkpoint").entry_data.text') #>> '{}' AS checkpoint,
           coalesce(nullif(event::json ->> 'user_message', ''), event::json -> 'dagster_event' ->> 'message', '') AS words
    FROM event_logs
    WHERE run_id = :'run_id'
      AND dagster_event_type IN (
          'PIPELINE_ENQUEUED', 'PIPELINE_STARTING', 'PIPELINE_START', 'PIPELINE_SUCCESS', 'PIPELINE_FAILURE', 'PIPELINE_CANCELED', 'ENGINE_EVENT')
)
SELECT at_utc,
       round((extract(epoch FROM at_utc - min(at_utc) OVER ()) * 1000)::numeric)::bigint AS ms,
       stage,
       coalesce(checkpoint, replace(event_type, 'PIPELINE', 'RUN')) AS checkpoint,
       CASE WHEN starts_with(words, checkpoint || ' ') THEN substr(words, length(checkpoint) + 2) ELSE words END AS said
FROM reported
ORDER BY id;
