-- How many rows of the load share their key, and how many keys are shared. GROUP BY treats NULLs as
-- equal.
SELECT coalesce(sum(same.rows), 0)::bigint, count(*)
FROM (SELECT count(*) AS rows FROM {table} GROUP BY {keys} HAVING count(*) > 1) AS same
