-- A table in the making: nobody looks for it here, and autovacuum leaves it alone until it is whole.
CREATE TABLE {table} ({columns}) WITH (autovacuum_enabled = false)
