-- Fails if a value is not JSON, or not JSON that PostgreSQL can store.
SELECT count({column}::jsonb) FROM {table}
