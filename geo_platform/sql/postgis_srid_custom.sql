-- The SRID of a CRS that the platform added earlier.
SELECT srid FROM spatial_ref_sys WHERE srid >= %(first)s AND srtext = %(text)s ORDER BY srid LIMIT 1
