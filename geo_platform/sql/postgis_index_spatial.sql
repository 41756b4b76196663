CREATE INDEX {index} ON {table} USING gist ({column})
