-- Whether the last write to an item unpublished it, whoever did it.
SELECT action = 'unpublish'
FROM geo_platform.provenance
WHERE collection = %(collection)s AND item_id = %(item_id)s
ORDER BY entry DESC
LIMIT 1
