-- The item that last published a version of a table.
SELECT collection, item_id
FROM geo_platform.provenance
WHERE action = 'publish' AND table_schema = %(schema)s AND table_name = %(table)s
    AND table_version = %(version)s
ORDER BY entry DESC
LIMIT 1
