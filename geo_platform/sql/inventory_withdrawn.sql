-- Whether the last recorded write to an item unpublished the item.
SELECT action = 'unpublish'
FROM geo_platform.provenance
WHERE collection = %(collection)s AND item_id = %(item_id)s
ORDER BY entry DESC
LIMIT 1
