-- Where the server can: long values compressed by lz4, at a tenth of the effort; for this transaction.
SELECT set_config(name, 'lz4', true) FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY(enumvals)
