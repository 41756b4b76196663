-- The runs that published an item, latest first. The item may be gone.
SELECT run_id
FROM geo_platform.provenance
WHERE action = 'publish' AND collection = %(collection)s AND item_id = %(item_id)s
GROUP BY run_id
ORDER BY max(entry) DESC
