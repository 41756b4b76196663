-- The same rows along PostGIS' own Hilbert curve.
INSERT INTO {laid} ({columns}) SELECT {columns} FROM {table} ORDER BY {geometry}
