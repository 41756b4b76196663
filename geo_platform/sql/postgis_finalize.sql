-- Complete the table: add the primary key, continue the ids after the last row, turn autovacuum on.
ALTER TABLE {table}
    ADD CONSTRAINT {index} PRIMARY KEY USING INDEX {index},
    ALTER COLUMN {id} RESTART WITH {next},
    RESET (autovacuum_enabled)
