-- Duration of each stage, slowest first. An attempt is a STAGE_START and the STAGE_DONE after it.
-- psql "$GEO_PLATFORM_DAGSTER_POSTGRES_URL" -v days=7 -f deploy/queries/slowest_stages.sql
WITH checkpoints AS (
    SELECT id, run_id, step_key AS stage, "timestamp" AS at_utc,
           jsonb_path_query_first(event::jsonb, '$.dagster_event.event_specific_data.metadata_entries[*] ? (@.label == "checkpoint").entry_data.text') #>> '{}' AS checkpoint
    FROM event_logs
    WHERE dagster_event_type = 'ENGINE_EVENT'
      AND "timestamp" > (now() AT TIME ZONE 'UTC') - :'days'::numeric * interval '1 day'
), attempts AS (
    SELECT run_id, stage, checkpoint, extract(epoch FROM at_utc - lag(at_utc) OVER attempt) AS seconds, lag(checkpoint) OVER attempt AS before
    FROM checkpoints
    WHERE checkpoint IN ('STAGE_START', 'STAGE_DONE', 'STAGE_FAILED')
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
