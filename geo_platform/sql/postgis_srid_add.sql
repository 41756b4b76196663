-- Add a custom CRS under the wanted number, or the next free one. Return the number.
INSERT INTO spatial_ref_sys (srid, srtext)
SELECT number.srid, %(text)s
FROM (
    SELECT %(first)s + (%(wanted)s - %(first)s + step) %% %(numbers)s AS srid, step
    FROM generate_series(0, %(numbers)s - 1) AS step
) AS number
WHERE NOT EXISTS (SELECT FROM spatial_ref_sys AS taken WHERE taken.srid = number.srid)
ORDER BY number.step
LIMIT 1
RETURNING srid
