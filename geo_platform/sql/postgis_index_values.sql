CREATE INDEX {index} ON {table} USING btree ({column})
