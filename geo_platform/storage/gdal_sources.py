"""Tell GDAL where an object is and how it may read it: a path, and configuration options.

On a disk the path is the file's. In a storage account GDAL reads byte ranges of the blob, by a URL
that is signed for this blob, allows reading only, and expires; every request has the condition that
the blob has the given etag (If-Match).

Called by `serving/raster/cogs.py`, `serving/raster/rasters.py` and `stores.py`.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import ceil, inf

from geo_platform.ports import ObjectStore
from geo_platform.settings import Profile, Settings

# URLs are signed for between one and two of these periods. Within a period an object has the same
# URL, by which GDAL keeps what it read.
SIGNING_PERIOD = timedelta(minutes=30)
# Seconds before a signed URL expires in which it is not used any more.
UNUSED_S = 120
# Limits of one request of GDAL to a storage account.
REQUEST_TIMEOUT_S, CONNECT_TIMEOUT_S, MAX_RETRY = 8, 3, 1
# Bytes of the first request, enough for the header of a COG, and of what GDAL keeps of all objects.
FIRST_RANGE_BYTES, KEPT_BYTES = 32 * 1024, 128 * 1024**2


@dataclass(frozen=True)
class GdalSource:
    """What GDAL needs to read one version of one object.

    `path` and `options` may hold a secret. `usable_until` is a time of `time.monotonic`.
    """

    path: str = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    usable_until: float = inf


class GdalSources:
    """Gives GDAL access to objects of the settings' store. Safe among threads."""

    def __init__(self, settings: Settings, objects: ObjectStore) -> None:
        self._settings = settings
        self._objects = objects

    def source(self, container: str, key: str, *, etag: str) -> GdalSource:
        """Return how GDAL reads the object that has this etag.

        Raises SourceNotFound: there is no such object (on a disk). Conflict: it has another etag
        (on a disk; in an account GDAL's requests fail with 412). StoreDenied, StoreUnavailable: the
        account's URL cannot be signed.
        """
        if self._settings.profile is not Profile.production:
            with self._objects.local_path(container, key, etag=etag) as path:
                return GdalSource(str(path))
        from geo_platform.storage.azure.signed_urls import reading_url

        now = datetime.now(UTC)
        period_s = SIGNING_PERIOD.total_seconds()
        ends = datetime.fromtimestamp((ceil(now.timestamp() / period_s) + 1) * period_s, UTC)
        url = reading_url(self._settings, container, key, ends_at_utc=ends, etag=etag)
        path_of_gdal = f"/vsicurl/{url}"
        return GdalSource(
            path_of_gdal,
            {
                "GDAL_HTTP_HEADERS": f'If-Match: "{etag.strip(chr(34))}"',
                "GDAL_HTTP_TIMEOUT": str(REQUEST_TIMEOUT_S),
                "GDAL_HTTP_CONNECTTIMEOUT": str(CONNECT_TIMEOUT_S),
                "GDAL_HTTP_MAX_RETRY": str(MAX_RETRY),
                "GDAL_HTTP_RETRY_DELAY": "0.2",
                "GDAL_INGESTED_BYTES_AT_OPEN": str(FIRST_RANGE_BYTES),
                "CPL_VSIL_CURL_CACHE_SIZE": str(KEPT_BYTES),
                "CPL_VSIL_CURL_USE_HEAD": "NO",
                # A URL that does not name the etag may be of another version next time.
                "CPL_VSIL_CURL_NON_CACHED": "" if etag.strip('"') in url else path_of_gdal,
            },
            time.monotonic() + (ends - now).total_seconds() - UNUSED_S,
        )
