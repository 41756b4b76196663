-- A table by its name; without a schema, a version of one that is staged or replaced.
SELECT space.nspname, relation.relname, obj_description(relation.oid, 'pg_class') AS comment
FROM pg_class AS relation
JOIN pg_namespace AS space ON space.oid = relation.relnamespace
WHERE relation.relkind IN ('r', 'p') AND relation.relname = %(name)s
    AND (space.nspname = %(schema)s OR (%(schema)s::text IS NULL AND space.nspname IN (%(staging)s, %(replaced)s)))
ORDER BY space.nspname
