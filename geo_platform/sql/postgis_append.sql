-- The live table's rows whose key is not among the new ones. Compared as records: NULLs are equal there, and it can hash.
INSERT INTO {table} ({columns})
SELECT {columns}
FROM {live} AS kept
WHERE NOT EXISTS (
    SELECT FROM {table} AS fresh WHERE ROW({fresh_keys})::record = ROW({kept_keys})::record
)
