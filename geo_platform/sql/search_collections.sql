-- The collections that hold an item under this condition.
SELECT c.content::text
FROM collections AS c
WHERE EXISTS (SELECT FROM items WHERE items.collection = c.id AND {condition})
ORDER BY c.id COLLATE "C"
