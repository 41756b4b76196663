-- The published table of this name, and the staged or replaced table of this version.
SELECT space.nspname, relation.relname, obj_description(relation.oid, 'pg_class')
FROM pg_class AS relation
JOIN pg_namespace AS space ON space.oid = relation.relnamespace
WHERE relation.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND (
        (space.nspname = %(schema)s AND relation.relname = %(table)s)
        OR (space.nspname IN (%(staging)s, %(replaced)s) AND relation.relname = %(version)s)
    )
