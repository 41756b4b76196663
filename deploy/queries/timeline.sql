-- One run, from its first word to its last: checkpoints, Dagster's words about the run, and what was said of it from outside.
-- psql "$GEO_PLATFORM_DAGSTER_POSTGRES_URL" -v run_id=RUN -f deploy/queries/timeline.sql
WITH said AS (
    SELECT id, "timestamp" AS at_utc, step_key AS stage, dagster_event_type AS event_type, event::json AS entry
    FROM event_logs
    WHERE run_id = :'run_id'
      AND (dagster_event_type IS NULL OR dagster_event_type IN (
          'PIPELINE_ENQUEUED', 'PIPELINE_STARTING', 'PIPELINE_START', 'PIPELINE_SUCCESS', 'PIPELINE_FAILURE', 'PIPELINE_CANCELED', 'ENGINE_EVENT'))
), worded AS (
    SELECT id, at_utc, stage, event_type,
           coalesce(nullif(entry ->> 'user_message', ''), entry -> 'dagster_event' ->> 'message', '') AS words
    FROM said
)
SELECT at_utc,
       round((extract(epoch FROM at_utc - min(at_utc) OVER ()) * 1000)::numeric)::bigint AS ms,
       stage,
       coalesce(substring(words FROM '^[A-Z]+(?:_[A-Z]+)+(?= )'), replace(event_type, 'PIPELINE', 'RUN')) AS checkpoint,
       regexp_replace(words, '^[A-Z]+(_[A-Z]+)+ ', '') AS said
FROM worded
WHERE event_type IS NOT NULL OR words ~ '^[A-Z]+(_[A-Z]+)+ '
ORDER BY id;
