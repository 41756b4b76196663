-- The runs that published a version of a table, earliest first. The table may be gone.
SELECT run_id
FROM geo_platform.provenance
WHERE action = 'publish' AND table_version = %(version)s
GROUP BY run_id
ORDER BY min(entry)
