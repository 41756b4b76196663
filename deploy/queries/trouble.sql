-- Reported problems of runs: stuck runs, stores that disagree, spans that cannot be delivered.
-- psql "$GEO_PLATFORM_DAGSTER_POSTGRES_URL" -v days=7 -f deploy/queries/trouble.sql
WITH reported AS (
    SELECT id, run_id, "timestamp" AS at_utc,
           jsonb_path_query_first(event::jsonb, '$.dagster_event.event_specific_data.metadata_entries[*] ? (@.label == "checkpoint").entry_data.text') #>> '{}' AS checkpoint,
           jsonb_path_query_first(event::jsonb, '$.dagster_event.event_specific_data.metadata_entries[*] ? (@.label == "details").entry_data.data') AS details,
           coalesce(nullif(event::json ->> 'user_message', ''), event::json -> 'dagster_event' ->> 'message', '') AS said
    FROM event_logs
    WHERE dagster_event_type = 'ENGINE_EVENT'
      AND "timestamp" > (now() AT TIME ZONE 'UTC') - :'days'::numeric * interval '1 day'
)
SELECT reported.at_utc, reported.run_id, runs.pipeline_name AS job, runs.status, reported.checkpoint, reported.details, reported.said
FROM reported
JOIN runs USING (run_id)
WHERE checkpoint IN ('RUN_STUCK', 'STATE_MISMATCH', 'TELEMETRY_LOST')
ORDER BY reported.id DESC;
