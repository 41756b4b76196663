-- What each item of a collection says of its place and time.
SELECT
    (content -> 'bbox')::text,
    content -> 'properties' ->> 'datetime',
    content -> 'properties' ->> 'start_datetime',
    content -> 'properties' ->> 'end_datetime'
FROM pgstac.items
WHERE collection = %(collection)s
