-- Rows of which another one of the same load has the key too. Grouping takes NULLs for equal.
SELECT coalesce(sum(same.rows), 0)::bigint, count(*)
FROM (SELECT count(*) AS rows FROM {table} GROUP BY {keys} HAVING count(*) > 1) AS same
