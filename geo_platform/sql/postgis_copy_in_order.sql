-- Copy the rows in the order of PostGIS' Hilbert curve.
INSERT INTO {laid} ({columns}) SELECT {columns} FROM {table} ORDER BY {geometry}
