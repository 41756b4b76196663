-- A page of a STAC search with the columns of `catalog_item`, and the values of the sort keys.
-- `search_rows` reads one month of the partitions after the other until the page is full.
SELECT content_hydrate(i)::text, (i.private -> 'geo_platform:nulls')::text, ARRAY[{values}]::text[]
FROM search_rows(%(condition)s, %(order)s, NULL, %(rows)s::int) AS i
