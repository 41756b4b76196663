-- Whether the role may create tables in the schema. No row if there is no such schema.
SELECT has_schema_privilege(%(role)s, space.oid, 'CREATE')
FROM pg_namespace AS space
WHERE space.nspname = %(schema)s
