-- A published item as pgSTAC returns it, and the paths of its null members, which pgSTAC drops.
SELECT content_hydrate(i)::text, (i.private -> 'geo_platform:nulls')::text
FROM pgstac.items AS i
WHERE i.collection = %(collection)s AND i.id = %(item_id)s
