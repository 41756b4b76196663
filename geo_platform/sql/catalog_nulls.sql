-- Beside an item, where no search shows it: which of its members are null.
UPDATE pgstac.items
SET private = coalesce(private, '{{}}') || jsonb_build_object('geo_platform:nulls', %(nulls)s::jsonb)
WHERE collection = %(collection)s AND id = %(item_id)s
