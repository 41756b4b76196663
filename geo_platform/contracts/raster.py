"""Messages of the raster chain: RasterProfiled, then CogStored (Cloud Optimized GeoTIFFs).

Used throughout the application.
"""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.message import Finding, Message, ObjectReference, Part, SpatialReference
from geo_platform.contracts.stored import Content, upgrades
from geo_platform.grid import Bounds, GridShape, LonLatBounds, Resolution


class RasterType(StrEnum):
    """The meaning of the bands. Clients send these names as `raster_type`."""

    rgb = "rgb"
    rgba = "rgba"
    dem = "dem"
    categorical = "categorical"
    multispectral = "multispectral"
    nir = "nir"
    continuous = "continuous"


class OutputTier(StrEnum):
    visualization = "visualization"
    analysis = "analysis"
    archive = "archive"


class BandStatistics(Part):
    """Statistics of the valid pixels of a sample over the whole extent."""

    minimum: float
    maximum: float
    mean: float
    standard_deviation: float
    valid_percent: float
    distinct_values: int | None = Field(description="in the sample; None above 65,536")
    sampled_pixels: int


class RasterBand(Part):
    index: int = Field(description="counted from 1")
    dtype: str = Field(description="numpy name")
    nodata: int | float | None = Field(
        description="NaN is written as null together with nodata_is_nan; an integer for 64 bits"
    )
    nodata_is_nan: bool
    color_interpretation: str = Field(
        description="GDAL's name in lower case: red, alpha, gray, palette, undefined"
    )
    has_color_table: bool
    scale: float
    offset: float
    unit: str | None
    description: str | None
    mask: str = Field(
        description="all_valid | nodata | alpha | per_dataset | per_band | palette (transparent "
        "entries) | color (one transparent colour)"
    )
    statistics: BandStatistics | None = Field(description="None if no sampled pixel is valid")


class BitDepthFinding(Part):
    band_index: int
    dtype: str
    sufficient_dtype: str
    saving_bytes: int = Field(description="uncompressed, whole band")
    reason: str


class GeoreferenceNote(Part):
    """How the pixels of the source are georeferenced."""

    transform: tuple[float, float, float, float, float, float] = Field(
        description="affine a, b, c, d, e, f: pixel to CRS"
    )
    is_rotated: bool
    is_south_up: bool
    ground_control_points: int
    has_rpcs: bool
    pixel_is_point: bool
    placed_by_ground_control_points: bool = Field(
        False,
        description="the source has no geotransform; `transform` is fitted to the ground control "
        "points, and the conversion warps the pixels",
    )
    positions: tuple[tuple[float, float], ...] = Field(
        (),
        description="x, y of n x n points spread evenly over the grid from corner to corner, row "
        "by row, as the ground control points place them; empty if there is a geotransform",
    )


class RasterProfiled(Message):
    """The source was described from its headers and a sample of its pixels."""

    schema_version: ClassVar[int] = 2

    source: ObjectArrived
    driver: str
    shape: GridShape
    bands: tuple[RasterBand, ...]
    crs: SpatialReference
    georeference: GeoreferenceNote
    resolution: Resolution
    bounds: Bounds
    lonlat_bounds: LonLatBounds
    block_shape: GridShape
    source_compression: str | None
    overview_factors: tuple[int, ...]
    is_cog: bool
    raster_type: RasterType
    raster_type_confidence: float = Field(description="0 to 1; 1 if the user gave the type")
    raster_type_reason: str
    bit_depth: tuple[BitDepthFinding, ...]
    uncompressed_bytes: int
    memory_estimate_bytes: int = Field(
        description="peak of the conversion, by the rule in raster/profile.py"
    )
    acquired_at: str | None = Field(
        description="RFC 3339, from the tags of the file; None if they have no time"
    )
    acquired_from: str | None = Field(
        description="the tag or file name pattern that gave this time"
    )
    warnings: tuple[Finding, ...]
    fingerprint: str


@upgrades(RasterProfiled, from_version=1)
def _profiled_without_positions(content: Content) -> Content:
    return content


class CogVerification(Part):
    """The result of opening the written COG again and comparing it with the source."""

    is_valid_cog: bool
    warnings: tuple[str, ...]
    sampled_pixels: int
    differing_pixels: int = Field(
        description="0 if the COG is lossless and on the grid of the source"
    )
    largest_difference: float
    compared_exactly: bool
    size_ratio: float = Field(description="bytes of the COG / bytes of the source")


class CogFile(Part):
    """A stored COG that is not published yet."""

    tier: OutputTier
    stored: ObjectReference
    sha256: str
    crs: SpatialReference
    shape: GridShape
    bounds: Bounds
    lonlat_bounds: LonLatBounds
    transform: tuple[float, float, float, float, float, float]
    bands: tuple[RasterBand, ...]
    overview_factors: tuple[int, ...]
    compression: str
    predictor: int
    blocksize_px: int
    overview_resampling: str
    reproject_resampling: str | None
    was_reprojected: bool
    asked_crs: str | None = Field(
        default=None,
        description="target_crs of the request; None to keep the CRS of the source",
    )
    reasons: tuple[str, ...] = Field(description="the reason for each choice, one sentence each")
    verification: CogVerification


class DrawingStyle(StrEnum):
    """How values become colours; `geo_platform/drawing.py` decides by it."""

    natural = "natural"
    stretched = "stretched"
    relief = "relief"
    tint = "tint"
    hillshade = "hillshade"
    ramp = "ramp"
    palette = "palette"
    classes = "classes"


class ClassColor(Part):
    value: int | float
    color: tuple[int, int, int] = Field(description="red, green, blue")
    name: str | None = Field(None, description="GDAL's category name in the source")


class Drawing(Part):
    """How the main COG is drawn: in its pictures, and by a client that gives no parameters."""

    style: DrawingStyle = Field(
        description="natural (red, green, blue as stored) | stretched (three bands by `ranges`) | "
        "relief (elevation colours with shading) | tint (elevation colours) | hillshade | "
        "ramp (one band by `ranges`) | palette (the file's colour table) | classes (`colors`)"
    )
    bands: tuple[int, ...] = Field(description="counted from 1; three or one")
    ranges: tuple[tuple[float, float], ...] = Field(
        (), description="for each band the values that become the first and the last colour"
    )
    typical_slope: float | None = Field(
        None, description="rise per metre that is shaded at 45 degrees; relief and hillshade only"
    )
    colors: tuple[ClassColor, ...] = Field(
        (), description="palette and classes, by value; empty for more than 256 classes"
    )


class CogStored(Message):
    """The COGs are verified and stored, but not published yet."""

    schema_version: ClassVar[int] = 4

    source: ObjectArrived
    raster_type: RasterType
    cogs: tuple[CogFile, ...] = Field(
        description="at least one; the first is the main asset of the item"
    )
    refused_tiers: tuple[Finding, ...] = Field(
        description="only if output_tier is all: the tiers that the bands do not allow, and why"
    )
    thumbnail: ObjectReference
    preview: ObjectReference = Field(description="web preview, larger than the thumbnail")
    preview_media_type: str
    thumbnail_media_type: str
    footprint_geojson: str = Field(
        description="outline of the valid pixels in WGS 84, lon/lat, as GeoJSON text"
    )
    acquired_at: str | None
    acquired_from: str | None
    uncompressed_bytes: int
    bit_depth: tuple[BitDepthFinding, ...]
    warnings: tuple[Finding, ...]
    was_reused: bool = Field(
        description="an earlier result of the same work was verified and used again"
    )
    seconds: float
    fingerprint: str
    drawing: Drawing | None = Field(
        None, description="how the pictures were drawn; None in messages of older releases"
    )


@upgrades(CogStored, from_version=1)
def _stored_before_64_bit_nodata(content: Content) -> Content:
    return content


@upgrades(CogStored, from_version=2)
def _stored_before_drawings(content: Content) -> Content:
    return content


@upgrades(CogStored, from_version=3)
def _stored_before_class_names(content: Content) -> Content:
    return content
