"""Limit pyogrio to the drivers of the supported vector formats.

A module of its own, since pyogrio imports pandas, which raster runs do not need. rasterio
takes the allowed drivers with each file that it opens (`raster/open.py`).

Called by `driver_files.py`.
"""

from collections.abc import Mapping
from types import MappingProxyType

import pyogrio

from geo_platform.source.formats import FORMATS
from geo_platform.source.pyogrio_internals import register_drivers

# KML replaces LIBKML in builds of GDAL without LIBKML. GDAL itself writes derived layers to MEM.
VECTOR_DRIVERS = frozenset(rule.ogr_driver for rule in FORMATS.values() if rule.ogr_driver) | {
    "KML",
    "MEM",
    "Memory",
}


# Keep GDAL off the network: its HTTP client gets a proxy that does not exist (the discard port of
# this machine), and /vsicurl accepts no file name.
OFFLINE_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".nothing-remote-is-ever-read",
        "GDAL_HTTP_PROXY": "127.0.0.1:9",
        "GDAL_HTTP_TIMEOUT": "1",
        "GDAL_HTTP_CONNECTTIMEOUT": "1",
        "GDAL_HTTP_MAX_RETRY": "0",
    }
)


def restrict_vector_drivers() -> None:
    """Remove every driver not in VECTOR_DRIVERS from pyogrio in this process. Idempotent and cheap.

    GDAL applies the option GDAL_SKIP when it registers drivers, so the drivers are registered again
    (docs/decisions/0006).
    Raises RuntimeError: a driver that had to be removed is still registered.
    """
    pyogrio.set_gdal_config_options(dict(OFFLINE_SETTINGS))
    superfluous = set(pyogrio.list_drivers()) - VECTOR_DRIVERS
    if superfluous:
        pyogrio.set_gdal_config_options({"GDAL_SKIP": ",".join(sorted(superfluous))})
        register_drivers()
        remaining = set(pyogrio.list_drivers()) - VECTOR_DRIVERS
        if remaining:
            raise RuntimeError(
                f"pyogrio still has drivers that had to be removed: {sorted(remaining)}"
            )
