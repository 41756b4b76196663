-- One collection, and whether it has an item and a partition for items yet.
SELECT
    c.content::text,
    EXISTS (SELECT FROM pgstac.items AS i WHERE i.collection = c.id),
    EXISTS (SELECT FROM pgstac.partition_stats AS p WHERE p.collection = c.id)
FROM pgstac.collections AS c
WHERE c.id = %(collection)s
