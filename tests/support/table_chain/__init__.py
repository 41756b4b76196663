"""Example of a third chain: tables without geometry, from `raw_table` to `table_item`.

`tables.py` is copied to `geo_platform/`, `table_assets.py` to `assets/table.py`. `project.py` makes
a copy of the project with the chain; `drive.py` runs in that copy.
"""
