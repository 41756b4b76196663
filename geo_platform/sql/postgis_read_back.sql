-- The number of rows, and the exact bounds of their coordinates: NULL if there are none.
SELECT found.rows, st_xmin(found.extent), st_ymin(found.extent), st_xmax(found.extent),
    st_ymax(found.extent)
FROM (SELECT count(*) AS rows, st_extent({geometry}) AS extent FROM {table}) AS found
