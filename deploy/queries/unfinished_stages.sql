-- Stages that began an attempt and never said how it ended: at work now, where the run is STARTED; else the process died there.
-- psql "$GEO_PLATFORM_DAGSTER_POSTGRES_URL" -f deploy/queries/unfinished_stages.sql
WITH checkpoints AS (
    SELECT DISTINCT ON (run_id, step_key)
           run_id, step_key AS stage, "timestamp" AS at_utc, substring(event::json ->> 'user_message' FROM '^[A-Z_]+') AS checkpoint
    FROM event_logs
    WHERE dagster_event_type IS NULL AND event::json ->> 'user_message' ~ '^STAGE_(START|DONE|FAILED) '
    ORDER BY run_id, step_key, id DESC
)
SELECT checkpoints.run_id, runs.pipeline_name AS job, runs.status, stage, at_utc AS began_at_utc
FROM checkpoints
JOIN runs USING (run_id)
WHERE checkpoint = 'STAGE_START'
ORDER BY at_utc DESC;
