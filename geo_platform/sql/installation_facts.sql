-- What is installed in this database and what the current login may do, as one JSON object. Any
-- login may run it: it uses object ids, not names in schemas that the login may have no right to
-- use.
SELECT jsonb_build_object(
    'login', current_user,
    'postgis', (SELECT extversion FROM pg_extension WHERE extname = 'postgis'),
    'postgis_schema', (
        SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'postgis'
    ),
    'available', (
        SELECT coalesce(jsonb_agg(name), '[]')
        FROM pg_available_extensions
        WHERE name = ANY(%(extensions)s)
    ),
    'adds_crs', EXISTS (
        SELECT FROM pg_class AS relation, pg_roles AS loader
        WHERE relation.relname = 'spatial_ref_sys'
            AND relation.relnamespace = 'public'::regnamespace
            AND loader.rolname = %(loader)s
            AND has_table_privilege(loader.oid, relation.oid, 'INSERT')
    ),
    'roles', (
        SELECT coalesce(jsonb_object_agg(role.rolname, jsonb_build_object(
            'is_mine', pg_has_role(current_user, role.oid, 'MEMBER'),
            'has_catalog', pgstac.oid IS NOT NULL AND pg_has_role(role.oid, pgstac.oid, 'USAGE')
        )), '{{}}')
        FROM pg_roles AS role
        JOIN (VALUES (%(loader)s, 'pgstac_ingest'), (%(reader)s, 'pgstac_read'))
            AS needs (own_role, pgstac_role) ON own_role = role.rolname
        LEFT JOIN pg_roles AS pgstac ON pgstac.rolname = pgstac_role
    ),
    'schemas', (
        SELECT coalesce(jsonb_object_agg(nspname, jsonb_build_object(
            'loader_creates', has_schema_privilege(loader.oid, space.oid, 'CREATE')
                AND has_schema_privilege(loader.oid, space.oid, 'USAGE'),
            'reader_uses', has_schema_privilege(reader.oid, space.oid, 'USAGE')
        )), '{{}}')
        FROM pg_namespace AS space
        LEFT JOIN pg_roles AS loader ON loader.rolname = %(loader)s
        LEFT JOIN pg_roles AS reader ON reader.rolname = %(reader)s
        WHERE nspname = ANY(%(schemas)s)
    ),
    'readable', (
        SELECT coalesce(jsonb_object_agg(
            space.nspname || '.' || relname,
            has_schema_privilege(space.oid, 'USAGE') AND has_table_privilege(relation.oid, 'SELECT')
        ), '{{}}')
        FROM pg_class AS relation
        JOIN pg_namespace AS space ON space.oid = relnamespace
        WHERE (nspname, relname) IN (('pgstac', 'migrations'), ('geo_platform', 'installation'))
    )
)
