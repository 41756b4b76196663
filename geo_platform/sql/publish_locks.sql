-- Wait for other publications of these collections and tables. The locks are taken in order of key,
-- so that there is no deadlock: the subquery is evaluated before the first lock.
SELECT pg_advisory_xact_lock(wanted.key)
FROM (
    SELECT DISTINCT hashtextextended('geo_platform ' || name, 0) AS key
    FROM unnest(%(names)s::text[]) AS name
    ORDER BY 1
) AS wanted
