-- The SQL conditions of a STAC search: one for ids, collections, times and area, one for its filter.
SELECT stac_search_to_where(%(search)s::jsonb), cql2_query(%(filter)s::jsonb, NULL, %(collections)s::text[])
