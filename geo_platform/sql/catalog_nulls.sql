-- Store which members of an item are null, in a column that no search returns.
UPDATE pgstac.items
SET private = coalesce(private, '{{}}')
    || jsonb_build_object('geo_platform:nulls', %(nulls)s::jsonb)
WHERE collection = %(collection)s AND id = %(item_id)s
