-- The highest row id; new rows get higher ones.
SELECT coalesce(max({id}), 0) FROM {live}
