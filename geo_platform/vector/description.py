"""What a reader of one format tells the profile. Not a message: it lives within one stage."""

from dataclasses import dataclass, field

from geo_platform.contracts.message import Finding
from geo_platform.contracts.vector import SourceField, VectorLayer
from geo_platform.grid import Bounds


@dataclass(frozen=True)
class SourceDescription:
    """Facts about the chosen layer, before any rule about CRS or plausibility was put to them.

    `format_crs` is the CRS that the format's specification gives to every file, `declared_crs` what this file says.
    """

    driver: str
    layers: tuple[VectorLayer, ...]
    layer: str
    geometry_types: tuple[str, ...]
    feature_count: int | None
    declared_crs: str | None
    format_crs: str | None
    fields: tuple[SourceField, ...]
    geometry_column: str | None
    extent: Bounds | None
    encoding: str
    geometry_from: str = "geometry"
    lon_lat_columns: tuple[str, str] | None = None
    has_curves: bool = False
    warnings: tuple[Finding, ...] = field(default=())
