-- Compress long values with lz4 in this transaction, if the server supports it. lz4 takes a tenth
-- of the time.
SELECT set_config(name, 'lz4', true) FROM pg_settings
WHERE name = 'default_toast_compression' AND 'lz4' = ANY(enumvals)
