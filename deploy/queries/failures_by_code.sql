-- Failures by error code (docs/errors.md): how often, in which stage, since when, and one example run.
-- psql "$GEO_PLATFORM_DAGSTER_POSTGRES_URL" -v days=7 -f deploy/queries/failures_by_code.sql
WITH failed AS (
    SELECT run_id, step_key AS stage, "timestamp" AS at_utc,
           jsonb_path_query_first(event::jsonb, '$.dagster_event.event_specific_data.metadata_entries[*] ? (@.label == "checkpoint").entry_data.text') #>> '{}' AS checkpoint,
           jsonb_path_query_first(event::jsonb, '$.dagster_event.event_specific_data.metadata_entries[*] ? (@.label == "error").entry_data.data') ->> 'code' AS error_code
    FROM event_logs
    WHERE dagster_event_type = 'ENGINE_EVENT'
      AND "timestamp" > (now() AT TIME ZONE 'UTC') - :'days'::numeric * interval '1 day'
)
SELECT error_code,
       stage,
       count(*) AS attempts,
       count(DISTINCT run_id) AS runs,
       max(at_utc) AS last_at_utc,
       (array_agg(run_id ORDER BY at_utc DESC))[1] AS last_run
FROM failed
WHERE checkpoint = 'STAGE_FAILED'
GROUP BY error_code, stage
ORDER BY runs DESC, error_code, stage;
