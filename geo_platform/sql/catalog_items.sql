-- These items, as `catalog_item` reads one, in the given order. Missing items are left out.
SELECT wanted.place, content_hydrate(i)::text, (i.private -> 'geo_platform:nulls')::text
FROM unnest(%(collections)s::text[], %(item_ids)s::text[]) WITH ORDINALITY
    AS wanted (collection, id, place)
JOIN pgstac.items AS i ON i.collection = wanted.collection AND i.id = wanted.id
ORDER BY wanted.place
