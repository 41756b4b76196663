-- Whether a kept version of any item names this version of a table.
SELECT EXISTS (
    SELECT
    FROM geo_platform.item_versions AS kept
    CROSS JOIN LATERAL jsonb_each(kept.item -> 'assets') AS asset
    WHERE asset.value ->> 'geo_platform:table_version' = %(version)s
)
