-- Delete a kept version.
DELETE FROM geo_platform.item_versions
WHERE collection = %(collection)s AND item_id = %(item_id)s AND fingerprint = %(fingerprint)s
    AND run_id = %(run_id)s
