-- Several items with the columns of `catalog_item`, and their position in the list of ids. Missing
-- items are left out.
SELECT wanted.place, content_hydrate(i)::text, (i.private -> 'geo_platform:nulls')::text
FROM unnest(%(collections)s::text[], %(item_ids)s::text[]) WITH ORDINALITY
    AS wanted (collection, id, place)
JOIN pgstac.items AS i ON i.collection = wanted.collection AND i.id = wanted.id
ORDER BY wanted.place
