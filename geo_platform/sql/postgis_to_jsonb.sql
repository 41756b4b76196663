ALTER COLUMN {column} TYPE jsonb USING {column}::jsonb
