-- The relations with these names: whether each is an ordinary table, and its comment.
SELECT space.nspname, relation.relname, relation.relkind = 'r',
    obj_description(relation.oid, 'pg_class')
FROM pg_class AS relation
JOIN pg_namespace AS space ON space.oid = relation.relnamespace
WHERE relation.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND (space.nspname, relation.relname) IN (
        SELECT * FROM unnest(%(schemas)s::text[], %(names)s::text[])
    )
