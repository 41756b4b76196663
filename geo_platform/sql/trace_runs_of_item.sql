-- Runs that published an item, the last one first; it may be gone.
SELECT run_id
FROM geo_platform.provenance
WHERE action = 'publish' AND collection = %(collection)s AND item_id = %(item_id)s
GROUP BY run_id
ORDER BY max(entry) DESC
