-- Copy the live rows whose key is not among the new ones. Keys are compared as records: there NULL
-- equals NULL, and PostgreSQL can hash them.
INSERT INTO {table} ({columns})
SELECT {columns}
FROM {live} AS kept
WHERE NOT EXISTS (
    SELECT FROM {table} AS fresh WHERE ROW({fresh_keys})::record = ROW({kept_keys})::record
)
