"""An example of a third chain: tables without geometry.

`raw_table -> table_profile -> table_rows -> table_item`

`tables.py` goes to `geo_platform/`, `table_assets.py` to `assets/table.py`. `project.py` makes a
copy of the project with it; `drive.py` runs in that copy.
"""
