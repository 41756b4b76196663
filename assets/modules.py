"""The modules whose assets Dagster loads: one for each chain, and one for the smoke test.

The list has a module of its own because the modules in it import the rest of this package.

Called by `definitions.py`.
"""

from assets import hello, raster, vector

ASSET_MODULES = [hello, raster, vector]
