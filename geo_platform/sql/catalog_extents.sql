-- Bounding box and times of each item of a collection.
SELECT
    (content -> 'bbox')::text,
    content -> 'properties' ->> 'datetime',
    content -> 'properties' ->> 'start_datetime',
    content -> 'properties' ->> 'end_datetime'
FROM pgstac.items
WHERE collection = %(collection)s
