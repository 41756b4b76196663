"""The settings that GDAL runs under here: a bounded block cache, nothing remote.

What belongs here: configuration of GDAL for the raster chain. What stays out: opening files (`open.py`) and creation
options of a COG (`write.py`).
"""

import os

import rasterio

from geo_platform.grid import GridShape

# Blocks that GDAL keeps. Rasterio wants it in bytes (it calls GDALSetCacheMax64), where GDAL's own
# setting means megabytes: a cache of 512 bytes decodes every block again and again.
BLOCK_CACHE_BYTES = 512 * 1024**2

COG_BLOCKSIZE_PX = 512
# Resident size of the process before it opens anything: interpreter, NumPy, GDAL, PROJ.
LIBRARIES_BYTES = 220 * 1024**2

# /vsicurl and its kin open only names that end like this; no such name exists.
REMOTE_ALLOWED = ".nothing-remote-is-ever-read"


def gdal_environment(*, rows_of_tiles: bool = False) -> rasterio.Env:
    """A rasterio.Env for one stage. Sidecars are looked up by name (no listing of a folder that may hold many objects).

    libjpeg warns of damaged data and fills in gray: that counts as damage here. Threads are asked for where they pay, in
    creation and warp options. The COG driver's temporary overviews stay uncompressed, which saves about a sixth of the
    whole conversion's CPU time. `rows_of_tiles` lets GDAL read parts of uncompressed tiles, past the block cache.
    """
    return rasterio.Env(
        GDAL_CACHEMAX=BLOCK_CACHE_BYTES,
        COG_TMP_COMPRESSION="NONE",
        GDAL_DISABLE_READDIR_ON_OPEN="TRUE",
        GDAL_TIFF_INTERNAL_MASK="YES",
        GDAL_PAM_ENABLED="YES",
        GTIFF_DIRECT_IO="YES" if rows_of_tiles else "NO",
        GTIFF_HONOUR_NEGATIVE_SCALEY="NO",
        GDAL_ERROR_ON_LIBJPEG_WARNING="YES",
        VSI_CACHE="FALSE",
        CPL_VSIL_CURL_ALLOWED_EXTENSIONS=REMOTE_ALLOWED,
        CPL_VSIL_CURL_USE_HEAD="NO",
        GDAL_HTTP_MAX_RETRY="0",
        GDAL_HTTP_TIMEOUT="1",
        GDAL_HTTP_CONNECTTIMEOUT="1",
        GDAL_HTTP_PROXY="127.0.0.1:9",
        GDAL_ENABLE_WMS_CACHE="NO",
        PROJ_NETWORK="OFF",
    )


def memory_estimate(shape: GridShape, block: GridShape, bytes_per_pixel: int) -> int:
    """Peak bytes of converting a source of this shape, the rule of docs/raster.md, "Memory".

    libraries + block cache (never more than the raster) + per thread four COG tiles + two rows of source blocks.
    """
    threads = os.cpu_count() or 1
    cache = min(BLOCK_CACHE_BYTES, shape.pixels * bytes_per_pixel)
    tiles = threads * 4 * COG_BLOCKSIZE_PX**2 * bytes_per_pixel
    rows = 2 * min(block.rows, shape.rows) * shape.cols * bytes_per_pixel
    return LIBRARIES_BYTES + cache + tiles + rows
