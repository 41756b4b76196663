-- How many items match, up to a maximum.
SELECT count(*) FROM (SELECT FROM items WHERE {condition} LIMIT {rows}) AS found
