-- The highest number of a row, after which new rows are numbered.
SELECT coalesce(max({id}), 0) FROM {live}
