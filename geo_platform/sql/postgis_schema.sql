-- Whether there is such a schema and the loader may make tables in it.
SELECT has_schema_privilege(%(role)s, space.oid, 'CREATE')
FROM pg_namespace AS space
WHERE space.nspname = %(schema)s
