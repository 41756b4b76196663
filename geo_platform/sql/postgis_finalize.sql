-- The table is whole: rows have a primary key, those that somebody adds are numbered on, and autovacuum looks after it.
ALTER TABLE {table}
    ADD CONSTRAINT {index} PRIMARY KEY USING INDEX {index},
    ALTER COLUMN {id} RESTART WITH {next},
    RESET (autovacuum_enabled)
