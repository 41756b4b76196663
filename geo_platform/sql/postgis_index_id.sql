CREATE UNIQUE INDEX {index} ON {table} USING btree ({column})
