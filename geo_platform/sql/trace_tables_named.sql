-- The table of this name in the schema, or without a schema the staged or replaced table.
SELECT space.nspname, relation.relname, obj_description(relation.oid, 'pg_class') AS comment
FROM pg_class AS relation
JOIN pg_namespace AS space ON space.oid = relation.relnamespace
WHERE relation.relkind IN ('r', 'p') AND relation.relname = %(name)s
    AND (
        space.nspname = %(schema)s
        OR (%(schema)s::text IS NULL AND space.nspname IN (%(staging)s, %(replaced)s))
    )
ORDER BY space.nspname
