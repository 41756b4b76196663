"""Only the supported vector formats' drivers stay registered in pyogrio's GDAL. pyogrio cannot name a driver per opening.

rasterio can, and does (`raster/open.py`), so its GDAL keeps its drivers. Both are switched off the network by settings.
"""

from collections.abc import Mapping
from types import MappingProxyType

import pyogrio
from pyogrio import _ogr

from geo_platform.source.formats import FORMATS

VECTOR_DRIVERS = frozenset(rule.ogr_driver for rule in FORMATS.values() if rule.ogr_driver) | {"KML", "MEM", "Memory"}
"""KML stands in where LIBKML is not built in; MEM is where GDAL itself puts what it derives."""

OFFLINE_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".nothing-remote-is-ever-read",
        "GDAL_HTTP_PROXY": "127.0.0.1:9",
        "GDAL_HTTP_TIMEOUT": "1",
        "GDAL_HTTP_CONNECTTIMEOUT": "1",
        "GDAL_HTTP_MAX_RETRY": "0",
    }
)
"""GDAL's own HTTP client gets a proxy where nobody listens (the discard port of this machine); /vsicurl gets no names."""


def restrict_vector_drivers() -> None:
    """Take every other driver out of this process's pyogrio. Repeating it costs microseconds.

    GDAL_SKIP is a public setting that GDAL applies when it registers its drivers, which pyogrio does once while it is
    imported and again in the private function called here; what is left is then checked through the public list.
    """
    pyogrio.set_gdal_config_options(dict(OFFLINE_SETTINGS))
    superfluous = set(pyogrio.list_drivers()) - VECTOR_DRIVERS
    if superfluous:
        pyogrio.set_gdal_config_options({"GDAL_SKIP": ",".join(sorted(superfluous))})
        _ogr._register_drivers()
        remaining = set(pyogrio.list_drivers()) - VECTOR_DRIVERS
        if remaining:
            raise RuntimeError(f"drivers that should be gone are still registered in pyogrio: {sorted(remaining)}")
