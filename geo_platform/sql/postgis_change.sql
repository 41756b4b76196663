ALTER TABLE {table} {changes}
