-- A table's columns, their types as PostgreSQL spells them, and which of them numbers the rows.
SELECT attribute.attname, format_type(attribute.atttypid, attribute.atttypmod), attribute.attidentity <> ''
FROM pg_attribute AS attribute
WHERE attribute.attrelid = to_regclass(format('%%I.%%I', %(schema)s::text, %(table)s::text))
    AND attribute.attnum > 0
    AND NOT attribute.attisdropped
ORDER BY attribute.attnum
