-- Copy the rows in the order of PostGIS' Hilbert curve.
INSERT INTO {sorted_table} ({columns}) SELECT {columns} FROM {table} ORDER BY {geometry}
