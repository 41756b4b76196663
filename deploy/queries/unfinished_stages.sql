-- Stages without a reported end: running if the run is STARTED, else the process died in them.
-- psql "$GEO_PLATFORM_DAGSTER_POSTGRES_URL" -f deploy/queries/unfinished_stages.sql
WITH checkpoints AS (
    SELECT id, run_id, step_key AS stage, "timestamp" AS at_utc,
           jsonb_path_query_first(event::jsonb, '$.dagster_event.event_specific_data.metadata_entries[*] ? (@.label == "checkpoint").entry_data.text') #>> '{}' AS checkpoint
    FROM event_logs
    WHERE dagster_event_type = 'ENGINE_EVENT'
), last AS (
    SELECT DISTINCT ON (run_id, stage) run_id, stage, at_utc, checkpoint
    FROM checkpoints
    WHERE checkpoint IN ('STAGE_START', 'STAGE_DONE', 'STAGE_FAILED')
    ORDER BY run_id, stage, id DESC
)
SELECT last.run_id, runs.pipeline_name AS job, runs.status, stage, at_utc AS began_at_utc
FROM last
JOIN runs USING (run_id)
WHERE checkpoint = 'STAGE_START'
ORDER BY at_utc DESC;
