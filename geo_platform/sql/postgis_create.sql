-- Create a table for loading. Autovacuum is off until it is complete.
CREATE TABLE {table} ({columns}) WITH (autovacuum_enabled = false)
