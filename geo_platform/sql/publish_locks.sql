-- Wait for other publications of these collections and tables. In order of key, so that no two wait for each other; the
-- subquery is evaluated before any lock is taken.
SELECT pg_advisory_xact_lock(wanted.key)
FROM (
    SELECT DISTINCT hashtextextended('geo_platform ' || name, 0) AS key
    FROM unnest(%(names)s::text[]) AS name
    ORDER BY 1
) AS wanted
