-- Fails where a value is no JSON that PostgreSQL can hold.
SELECT count({column}::jsonb) FROM {table}
