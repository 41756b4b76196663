-- What goes wrong: the codes of docs/errors.md, how often, where, since when, and one run to look at.
-- psql "$GEO_PLATFORM_DAGSTER_POSTGRES_URL" -v days=7 -f deploy/queries/failures_by_code.sql
WITH failed AS (
    SELECT run_id, step_key AS stage, "timestamp" AS at_utc, event::json ->> 'user_message' AS words
    FROM event_logs
    WHERE dagster_event_type IS NULL
      AND "timestamp" > (now() AT TIME ZONE 'UTC') - :'days'::numeric * interval '1 day'
      AND event::json ->> 'user_message' LIKE 'STAGE_FAILED %'
)
SELECT substring(words FROM '^STAGE_FAILED ([A-Z0-9_]+):') AS error_code,
       stage,
       count(*) AS attempts,
       count(DISTINCT run_id) AS runs,
       max(at_utc) AS last_at_utc,
       (array_agg(run_id ORDER BY at_utc DESC))[1] AS last_run
FROM failed
GROUP BY error_code, stage
ORDER BY runs DESC, error_code, stage;
