-- Who holds a lock on a table, for an error message.
SELECT DISTINCT activity.pid, activity.usename, activity.application_name
FROM pg_locks AS held
JOIN pg_stat_activity AS activity ON activity.pid = held.pid
WHERE held.relation = to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text))
    AND held.granted
ORDER BY activity.pid
LIMIT 5
