-- How long each stage takes, slowest first, and which run took longest. An attempt is a STAGE_START and the STAGE_DONE after it.
-- psql "$GEO_PLATFORM_DAGSTER_POSTGRES_URL" -v days=7 -f deploy/queries/slowest_stages.sql
WITH checkpoints AS (
    SELECT id, run_id, step_key AS stage, "timestamp" AS at_utc, substring(event::json ->> 'user_message' FROM '^[A-Z_]+') AS checkpoint
    FROM event_logs
    WHERE dagster_event_type IS NULL
      AND "timestamp" > (now() AT TIME ZONE 'UTC') - :'days'::numeric * interval '1 day'
      AND event::json ->> 'user_message' ~ '^STAGE_(START|DONE|FAILED) '
), attempts AS (
    SELECT run_id, stage, checkpoint, extract(epoch FROM at_utc - lag(at_utc) OVER attempt) AS seconds, lag(checkpoint) OVER attempt AS before
    FROM checkpoints
    WINDOW attempt AS (PARTITION BY run_id, stage ORDER BY id)
)
SELECT stage,
       count(*) AS attempts,
       round(percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds)::numeric, 3) AS median_s,
       round(percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds)::numeric, 3) AS p95_s,
       round(max(seconds)::numeric, 3) AS slowest_s,
       (array_agg(run_id ORDER BY seconds DESC))[1] AS slowest_run
FROM attempts
WHERE checkpoint = 'STAGE_DONE' AND before = 'STAGE_START'
GROUP BY stage
ORDER BY slowest_s DESC;
