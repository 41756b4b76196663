-- The SRID of a geometry column, by the column's type.
SELECT postgis_typmod_srid(attribute.atttypmod)
FROM pg_attribute AS attribute
WHERE attribute.attrelid = to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text))
    AND attribute.attname = %(column)s
