-- The columns of a table: name, type as PostgreSQL spells it, and whether it is the row id.
SELECT attribute.attname, format_type(attribute.atttypid, attribute.atttypmod),
    attribute.attidentity <> ''
FROM pg_attribute AS attribute
WHERE attribute.attrelid = to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text))
    AND attribute.attnum > 0
    AND NOT attribute.attisdropped
ORDER BY attribute.attnum
