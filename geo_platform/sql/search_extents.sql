-- The different boxes of the items of each collection, with the first and the last of their times.
SELECT
    collection,
    (content -> 'bbox')::text,
    min(coalesce(content -> 'properties' ->> 'start_datetime', content -> 'properties' ->> 'datetime')),
    max(coalesce(content -> 'properties' ->> 'end_datetime', content -> 'properties' ->> 'datetime'))
FROM items
WHERE {condition}
GROUP BY 1, 2
