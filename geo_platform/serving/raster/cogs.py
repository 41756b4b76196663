"""Open the COG of an item's asset for reading, from wherever the store keeps it.

The bytes that are read are those that the item describes: the object's size and checksum are
compared first, and its etag holds for every byte that follows.

Called by `api/serving/raster.py` and `rasters.py`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pystac
import rasterio
from rasterio.io import DatasetReader

from geo_platform.errors import Conflict, NotFound, PlatformError, StoreUnavailable
from geo_platform.ports import ASSET_CONTAINER, ASSET_KEY, ObjectStore
from geo_platform.raster.rasterio_internals import block_cache_setting, gdal_error_types
from geo_platform.serving.published import PublishedItem

DEFAULT_ASSET = "data"
BLOCK_CACHE_BYTES = 256 * 1024**2
# The multihash prefix of sha2-256 in `file:checksum`.
_SHA2_256 = "1220"


def cog_assets(item: PublishedItem) -> list[str]:
    """Return the names of the item's assets that are COGs."""
    return [
        name
        for name, asset in item.document["assets"].items()
        if asset.get("type") == pystac.MediaType.COG.value and ASSET_KEY in asset
    ]


class CogReader:
    """Opens COGs of published items. Safe among threads."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    @contextmanager
    def open(self, item: PublishedItem, asset_name: str) -> Iterator[DatasetReader]:
        """Open the COG of an asset. Errors of GDAL inside the context are translated too.

        Raises NotFound: the item has no such COG. Conflict: the object is another one than the
        item describes. StoreUnavailable: the store does not answer, or the COG cannot be read.
        """
        names = cog_assets(item)
        if asset_name not in names:
            raise NotFound(
                f"The item {item.item_id!r} has no raster {asset_name!r}.",
                remedy=f"Choose one of its rasters: {', '.join(names)}."
                if names
                else "It is not a raster. GET /stac shows its assets.",
            )
        asset = item.asset(asset_name)
        container, key = asset[ASSET_CONTAINER], asset[ASSET_KEY]
        stored = self._objects.stat(container, key)
        _check_same(asset, stored.reference.size_bytes, stored.metadata, item)
        with (
            _gdal_errors(item, asset_name),
            self._objects.local_path(container, key, etag=stored.reference.etag) as path,
            _gdal_settings(),
            rasterio.open(path, driver="GTiff", sharing=False) as cog,
        ):
            yield cog


def _check_same(
    asset: Mapping[str, Any], size_bytes: int, metadata: Mapping[str, str], item: PublishedItem
) -> None:
    checksum = str(asset.get("file:checksum", "")).removeprefix(_SHA2_256)
    stored_checksum = metadata.get("sha256", checksum)
    if asset.get("file:size") not in (None, size_bytes) or checksum != stored_checksum:
        raise Conflict(
            f"The raster of the item {item.item_id!r} is being replaced.",
            remedy="Send the request again in a few seconds.",
        )


def _gdal_settings() -> rasterio.Env:
    """Return the settings under which COGs are read: one file, no sidecars, no listing."""
    return rasterio.Env(
        **block_cache_setting(BLOCK_CACHE_BYTES),
        GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR",
        GDAL_PAM_ENABLED="NO",
        GDAL_NUM_THREADS="1",
        GTIFF_HONOUR_NEGATIVE_SCALEY="NO",
        PROJ_NETWORK="OFF",
    )


@contextmanager
def _gdal_errors(item: PublishedItem, asset_name: str) -> Iterator[None]:
    try:
        yield
    except PlatformError:
        raise
    except gdal_error_types() as error:
        raise StoreUnavailable(
            f"The raster {asset_name!r} of the item {item.item_id!r} could not be read.",
            gdal=str(error)[:500],
        ) from error
