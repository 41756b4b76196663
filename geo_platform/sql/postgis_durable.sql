-- Wait for the disk at the commit of this transaction, even if the server's setting does not. All
-- earlier commits become durable with it.
SELECT set_config('synchronous_commit', 'on', true)
WHERE current_setting('synchronous_commit') = 'off'
