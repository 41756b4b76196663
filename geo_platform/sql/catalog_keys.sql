-- Every published item, newest first. Items of other programs, without a provenance entry, come
-- last.
SELECT i.collection, i.id, last.happened_at
FROM pgstac.items AS i
LEFT JOIN (
    SELECT DISTINCT ON (collection, item_id) collection, item_id, entry, happened_at
    FROM geo_platform.provenance
    WHERE action = 'publish'
    ORDER BY collection, item_id, entry DESC
) AS last ON last.collection = i.collection AND last.item_id = i.id
ORDER BY last.entry DESC NULLS LAST, i.collection, i.id
