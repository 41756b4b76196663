"""Describe how an item came about: its run, its recipe and the versions of the software.

Nothing here imports pystac: `publish.py` uses this module before it knows whether an item is built.
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
    """The run that publishes an item, the item's version, and what it replaces.

    `created_utc` is when the item id was first published. `software` maps package to version.
    `before` is the published item that is replaced, as the catalog returned it, or None.
    """

    run_id: str
    fingerprint: str
    published_at_utc: datetime
    created_utc: datetime
    software: Mapping[str, str]
    before: Mapping[str, Any] | None = None


def software_versions(kind: SourceKind) -> dict[str, str]:
    """Return the versions of the software that writes outputs of one kind.

    A package that is not installed is left out.
    """
    found: dict[str, str] = {}
    for name in _RECORDED_PACKAGES[kind]:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    found["gdal"] = _gdal_version(kind)
    return found


def _gdal_version(kind: SourceKind) -> str:
    # rasterio and pyogrio each bundle their own GDAL.
    if kind is SourceKind.raster:
        import rasterio

        return str(rasterio.__gdal_version__)
    import pyogrio

    return str(pyogrio.__gdal_version_string__)
