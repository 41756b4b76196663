-- These items, as `catalog_item` reads one, in the given order. Missing items are left out.
SELECT asked.place, content_hydrate(i)::text, (i.private -> 'geo_platform:nulls')::text
FROM unnest(%(collections)s::text[], %(item_ids)s::text[]) WITH ORDINALITY
    AS asked (collection, id, place)
JOIN pgstac.items AS i ON i.collection = asked.collection AND i.id = asked.id
ORDER BY asked.place
