-- A collection, whether it has items, and whether pgSTAC has made a partition for them.
SELECT
    c.content::text,
    EXISTS (SELECT FROM pgstac.items AS i WHERE i.collection = c.id),
    EXISTS (SELECT FROM pgstac.partition_stats AS p WHERE p.collection = c.id)
FROM pgstac.collections AS c
WHERE c.id = %(collection)s
