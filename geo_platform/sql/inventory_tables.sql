-- Every staged and replaced table, and tables elsewhere whose comment is a JSON object with a
-- version, as the platform writes it.
SELECT space.nspname, relation.relname, obj_description(relation.oid, 'pg_class') AS comment
FROM pg_class AS relation
JOIN pg_namespace AS space ON space.oid = relation.relnamespace
WHERE relation.relkind IN ('r', 'p')
    AND (
        space.nspname IN (%(staging)s, %(replaced)s)
        OR obj_description(relation.oid, 'pg_class') LIKE '{{%%"version"%%'
    )
ORDER BY space.nspname, relation.relname
