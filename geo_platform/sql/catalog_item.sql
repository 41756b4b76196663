-- One published item as pgSTAC serves it, and which of its members are null: pgSTAC drops those.
SELECT content_hydrate(i)::text, (i.private -> 'geo_platform:nulls')::text
FROM pgstac.items AS i
WHERE i.collection = %(collection)s AND i.id = %(item_id)s
