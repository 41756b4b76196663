-- Use 256 MB for a sort or an index in this transaction, if the server's setting is lower.
SELECT set_config(name, '256MB', true) FROM pg_settings
WHERE name = {setting} AND setting::bigint < 262144
