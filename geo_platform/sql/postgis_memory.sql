-- More memory for a sort or an index than the server's own setting, where that is smaller; for this transaction.
SELECT set_config(name, '256MB', true) FROM pg_settings WHERE name = {setting} AND setting::bigint < 262144
