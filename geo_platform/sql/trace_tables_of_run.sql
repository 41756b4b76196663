-- The tables whose comment contains a run id. The caller parses the comment to be sure.
SELECT space.nspname, relation.relname, obj_description(relation.oid, 'pg_class') AS comment
FROM pg_class AS relation
JOIN pg_namespace AS space ON space.oid = relation.relnamespace
WHERE relation.relkind IN ('r', 'p')
    AND position(%(run_id)s IN obj_description(relation.oid, 'pg_class')) > 0
ORDER BY space.nspname, relation.relname
