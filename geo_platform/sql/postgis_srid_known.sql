-- The SRID of an authority's code.
SELECT srid FROM spatial_ref_sys
WHERE upper(auth_name) = upper(%(authority)s) AND auth_srid = %(code)s
ORDER BY srid LIMIT 1
