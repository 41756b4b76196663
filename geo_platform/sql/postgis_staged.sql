-- Every staged table, with its comment.
SELECT relation.relname, obj_description(relation.oid, 'pg_class')
FROM pg_class AS relation
WHERE relation.relnamespace = to_regnamespace(%(staging)s) AND relation.relkind = 'r'
ORDER BY relation.relname
