-- Whether the last that was done with an item was to take it away, by whomever.
SELECT action = 'unpublish'
FROM geo_platform.provenance
WHERE collection = %(collection)s AND item_id = %(item_id)s
ORDER BY entry DESC
LIMIT 1
