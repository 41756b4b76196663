-- This transaction waits until it is on disk, and all before it with it, also where the server's own setting would not.
SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'
