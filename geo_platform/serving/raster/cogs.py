"""Open the COG of an item's asset for reading, from wherever the store keeps it.

The bytes that are read are those that the item describes: the object's size and checksum are
compared once, and the etag that it has then holds for every byte that follows. Opened COGs are kept
for the next request of the same version of the item.

Used by `api/serving` and `serving/raster`.
"""

import logging
import re
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from threading import Lock
from typing import Any

import rasterio
from rasterio.io import DatasetReader

from geo_platform.errors import (
    Conflict,
    NotFound,
    PlatformError,
    SourceNotFound,
    StoreDenied,
    StoreUnavailable,
)
from geo_platform.ports import ASSET_CONTAINER, ASSET_KEY, ObjectStore
from geo_platform.raster.rasterio_internals import block_cache_setting, gdal_error_types
from geo_platform.raster.validity import Validity, validity_of
from geo_platform.serving.published import PublishedItem, is_object_of
from geo_platform.storage.gdal_sources import GdalSource, GdalSources

DEFAULT_ASSET = "data"
COG_MEDIA_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
BLOCK_CACHE_BYTES = 256 * 1024**2
# COGs that are kept open while nobody reads them.
MAX_IDLE = 64
_HTTP_STATUS = re.compile(r"HTTP (?:response|error) code\D*(\d{3})", re.IGNORECASE)
_SIGNATURE = re.compile(r"(sig(?:=|%3D))[^&\s'\"]+", re.IGNORECASE)


def cog_assets(item: PublishedItem) -> list[str]:
    """Return the names of the item's assets that are COGs."""
    return [
        name
        for name, asset in item.document["assets"].items()
        if asset.get("type") == COG_MEDIA_TYPE and ASSET_KEY in asset
    ]


class OpenCog:
    """An open COG and the overviews of it that were read. For one thread at a time."""

    def __init__(self, source: GdalSource) -> None:
        self.source = source
        self._overviews: dict[int, DatasetReader] = {}
        self.full = self._opened()

    @cached_property
    def validity(self) -> Validity:
        """The rule by which pixels are valid, in the COG and its overviews."""
        return validity_of(self.full)

    @property
    def is_usable(self) -> bool:
        return time.monotonic() < self.source.usable_until

    def at(self, factor: int) -> DatasetReader:
        """Return the overview with this factor, of those that the COG has; 0 for the COG itself."""
        if not factor:
            return self.full
        if factor not in self._overviews:
            level = self.full.overviews(1).index(factor)
            self._overviews[factor] = self._opened(OVERVIEW_LEVEL=level)
        return self._overviews[factor]

    def close(self) -> None:
        for dataset in (self.full, *self._overviews.values()):
            dataset.close()

    def _opened(self, **options: Any) -> DatasetReader:
        return rasterio.open(self.source.path, driver="GTiff", sharing=False, **options)


class CogReader:
    """Opens COGs of published items. Safe among threads."""

    def __init__(self, objects: ObjectStore, sources: GdalSources) -> None:
        self._objects = objects
        self._sources = sources
        self._idle: OrderedDict[int, tuple[tuple[str, str], OpenCog]] = OrderedDict()
        self._lock = Lock()
        # GDAL quotes paths in its messages, and rasterio logs them; at DEBUG it logs every path.
        logging.getLogger("rasterio").setLevel(logging.INFO)
        logging.getLogger("rasterio._env").addFilter(_without_signature)
        logging.getLogger("rasterio._err").addFilter(_without_signature)

    @contextmanager
    def open(self, item: PublishedItem, asset_name: str) -> Iterator[OpenCog]:
        """Open the COG of an asset. Errors of GDAL inside the context are translated too.

        Raises NotFound: the item has no such COG. Conflict: the object is another one than the
        item describes. StoreUnavailable, StoreDenied: the store does not answer or refuses access,
        or the COG cannot be read.
        """
        names = cog_assets(item)
        if asset_name not in names:
            raise NotFound(
                f"The item {item.item_id!r} has no raster {asset_name!r}.",
                remedy=f"Choose one of its rasters: {', '.join(names)}."
                if names
                else "It is not a raster. GET /stac shows its assets.",
            )
        version = (f"{item.collection}/{item.item_id}/{item.version}", asset_name)
        with _gdal_errors(item, asset_name):
            cog = self._idle_cog(version)
            source = cog.source if cog else self._source(item, item.asset(asset_name))
            with rasterio.Env(**_settings(), **source.options):
                cog = cog or OpenCog(source)
                try:
                    yield cog
                except BaseException:
                    cog.close()
                    raise
            self._keep(version, cog)

    def close(self) -> None:
        """Close the COGs that nobody reads."""
        with self._lock:
            idle, self._idle = list(self._idle.values()), OrderedDict()
        for _, cog in idle:
            cog.close()

    def _source(self, item: PublishedItem, asset: Mapping[str, Any]) -> GdalSource:
        container, key = asset[ASSET_CONTAINER], asset[ASSET_KEY]
        try:
            stored = self._objects.stat(container, key)
        except SourceNotFound as error:
            raise _replaced(item) from error
        if not is_object_of(asset, stored):
            raise _replaced(item)
        return self._sources.source(container, key, etag=stored.reference.etag)

    def _idle_cog(self, version: tuple[str, str]) -> OpenCog | None:
        with self._lock:
            same = [handle for handle, (kept, _) in self._idle.items() if kept == version]
            if not same:
                return None
            cog = self._idle.pop(same[-1])[1]
        if cog.is_usable:
            return cog
        cog.close()
        return None

    def _keep(self, version: tuple[str, str], cog: OpenCog) -> None:
        with self._lock:
            self._idle[id(cog)] = (version, cog)
            excess = self._idle.popitem(last=False)[1][1] if len(self._idle) > MAX_IDLE else None
        if excess is not None:
            excess.close()


def _replaced(item: PublishedItem) -> Conflict:
    return Conflict(
        f"The raster of the item {item.item_id!r} is being replaced.",
        remedy="Send the request again in a few seconds.",
    )


def _settings() -> dict[str, Any]:
    """Return the settings under which COGs are read: one file, no sidecars, no listing."""
    return {
        **block_cache_setting(BLOCK_CACHE_BYTES),
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_PAM_ENABLED": "NO",
        "GDAL_NUM_THREADS": "1",
        "GTIFF_HONOUR_NEGATIVE_SCALEY": "NO",
        "PROJ_NETWORK": "OFF",
    }


@contextmanager
def _gdal_errors(item: PublishedItem, asset_name: str) -> Iterator[None]:
    """Translate errors of GDAL. Their texts may hold a signed URL, so they are not passed on."""
    try:
        yield
    except PlatformError:
        raise
    except gdal_error_types() as error:
        raise _translated(item, asset_name, error) from None


def _translated(item: PublishedItem, asset_name: str, error: BaseException) -> PlatformError:
    chain = [error, error.__cause__, error.__context__]
    text = " ".join(str(link) for link in chain if link is not None)
    status = match[1] if (match := _HTTP_STATUS.search(text)) else ""
    what = f"The raster {asset_name!r} of the item {item.item_id!r}"
    if status in ("404", "412"):
        return _replaced(item)
    if status in ("401", "403"):
        return StoreDenied(f"{what} may not be read: the store answers {status}.")
    return StoreUnavailable(
        f"{what} could not be read.", gdal=_SIGNATURE.sub(r"\1***", text)[:300], status=status
    )


def _without_signature(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    if _SIGNATURE.search(text):
        record.msg, record.args = _SIGNATURE.sub(r"\1***", text), ()
    return True
