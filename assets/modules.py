"""The modules whose assets are loaded: one for each chain, and the smoke test's.

It stands alone because these modules import the other ones of this package.
"""

from assets import hello, raster, vector

ASSET_MODULES = [hello, raster, vector]
