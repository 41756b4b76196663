-- The published version is not among the kept ones; nor is a forgotten one.
DELETE FROM geo_platform.item_versions
WHERE collection = %(collection)s AND item_id = %(item_id)s AND fingerprint = %(fingerprint)s AND run_id = %(run_id)s
