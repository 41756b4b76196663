-- The names and JSON types of the properties of some items of each collection, and the largest
-- number of items that were read of one.
WITH sampled AS (
    SELECT wanted.collection, one.properties
    FROM unnest({collections}::text[]) AS wanted (collection)
    CROSS JOIN LATERAL (
        SELECT content -> 'properties' AS properties
        FROM items
        WHERE items.collection = wanted.collection AND {condition}
        LIMIT {rows}
    ) AS one
)
SELECT
    named.key,
    array_agg(DISTINCT jsonb_typeof(named.value)),
    (SELECT max(number) FROM (SELECT count(*) AS number FROM sampled GROUP BY collection) AS counted)
FROM sampled
CROSS JOIN LATERAL jsonb_each(sampled.properties) AS named
WHERE jsonb_typeof(named.value) IN ('string', 'number', 'boolean', 'array')
GROUP BY named.key
