"""Describe the origin of an item: its run, its fingerprint and the versions of the software.

This module does not import pystac, because `publish.py` imports it also when no item is built.

Used by `catalog`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from geo_platform.contracts.arrival import SourceKind

_RECORDED_PACKAGES = {
    SourceKind.raster: ("geo-platform", "rasterio", "rio-cogeo", "numpy"),
    SourceKind.vector: ("geo-platform", "pyogrio", "shapely", "pyarrow"),
}


@dataclass(frozen=True)
class Provenance:
    """The run that publishes an item, the fingerprint of the item, and the item that it replaces.

    `created_utc` is the time at which the item id was first published. `software` maps the name of
    a package to its version. `before` is the published item that is replaced, as `Catalog.item`
    returned it, or None.
    """

    run_id: str
    fingerprint: str
    published_at_utc: datetime
    created_utc: datetime
    software: Mapping[str, str]
    before: Mapping[str, Any] | None = None


def software_versions(kind: SourceKind) -> dict[str, str]:
    """Return the versions of the packages that write rasters or vector datasets.

    A package that is not installed is omitted.
    """
    versions: dict[str, str] = {}
    for name in _RECORDED_PACKAGES[kind]:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    versions["gdal"] = _gdal_version(kind)
    return versions


def _gdal_version(kind: SourceKind) -> str:
    # rasterio and pyogrio each bundle their own GDAL.
    if kind is SourceKind.raster:
        import rasterio

        return str(rasterio.__gdal_version__)
    import pyogrio

    return str(pyogrio.__gdal_version_string__)
