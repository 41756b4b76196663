-- What was said of runs that something is wrong with: runs that are stuck, stores that disagree, spans that cannot be delivered.
-- psql "$GEO_PLATFORM_DAGSTER_POSTGRES_URL" -v days=7 -f deploy/queries/trouble.sql
WITH said AS (
    SELECT event_logs.id, event_logs.run_id, event_logs."timestamp" AS at_utc,
           coalesce(nullif(event::json ->> 'user_message', ''), event::json -> 'dagster_event' ->> 'message', '') AS words
    FROM event_logs
    WHERE (dagster_event_type IS NULL OR dagster_event_type = 'ENGINE_EVENT')
      AND "timestamp" > (now() AT TIME ZONE 'UTC') - :'days'::numeric * interval '1 day'
)
SELECT at_utc, said.run_id, runs.pipeline_name AS job, runs.status,
       substring(words FROM '^[A-Z_]+') AS checkpoint, regexp_replace(words, '^[A-Z_]+ ', '') AS said
FROM said
JOIN runs USING (run_id)
WHERE words ~ '^(RUN_STUCK|STATE_MISMATCH|TELEMETRY_LOST) '
ORDER BY said.id DESC;
