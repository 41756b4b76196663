"""Options of the raster stages. Dagster's forms, CLI options and HTTP bodies derive from them.

Enum members have their values as names: Dagster's launchpad writes names, other clients values.
"""

from enum import StrEnum

from pydantic import Field

from geo_platform.options import Options


class RasterTypeChoice(StrEnum):
    auto = "auto"
    rgb = "rgb"
    rgba = "rgba"
    dem = "dem"
    categorical = "categorical"
    multispectral = "multispectral"
    nir = "nir"
    continuous = "continuous"


class OutputTierChoice(StrEnum):
    visualization = "visualization"
    analysis = "analysis"
    archive = "archive"
    all = "all"


class Resampling(StrEnum):
    """GDAL's names, and `auto`, which follows the raster type."""

    auto = "auto"
    nearest = "nearest"
    bilinear = "bilinear"
    cubic = "cubic"
    cubic_spline = "cubic_spline"
    lanczos = "lanczos"
    average = "average"
    mode = "mode"


class LosslessCompression(StrEnum):
    zstd = "zstd"
    deflate = "deflate"


class RasterProfileOptions(Options):
    """Options of profiling a raster."""

    input_crs: str | None = Field(
        None,
        description="CRS of the source if the file has none, for example EPSG:32618. "
        "Refused if it differs from the file's.",
    )
    override_crs: bool = Field(
        False, strict=True, description="Use input_crs even if the file has another CRS."
    )
    raster_type: RasterTypeChoice = Field(
        RasterTypeChoice.auto, description="What the bands mean. auto: detect it."
    )
    strict_mode: bool = Field(
        False,
        strict=True,
        description="Refuse 64-bit bands, and a raster_type that differs from the detected one.",
    )
    nodata: float | None = Field(
        None,
        strict=True,
        description="Nodata value if the file has none. Refused if it differs from the file's.",
    )


class RasterCogOptions(Options):
    """Options of converting a raster to COGs."""

    output_tier: OutputTierChoice = Field(
        OutputTierChoice.analysis,
        description="analysis: lossless. visualization: JPEG, 8-bit RGB only. "
        "archive: lossless at the highest level. all: every tier that is possible.",
    )
    target_crs: str | None = Field(
        None,
        description="CRS to reproject to, for example EPSG:3857. Default: keep the source's.",
    )
    compression: LosslessCompression = Field(
        LosslessCompression.zstd, description="Codec of the lossless tiers."
    )
    jpeg_quality: int = Field(
        85,
        strict=True,
        ge=1,
        le=100,
        description="JPEG quality of the visualization tier, 1 to 100.",
    )
    overview_resampling: Resampling = Field(
        Resampling.auto, description="How to compute overviews. auto: by raster type."
    )
    reproject_resampling: Resampling = Field(
        Resampling.auto, description="How to reproject pixels. auto: by raster type."
    )
    output_folder: str = Field(
        "cogs",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$",
        max_length=200,
        description="Folder of the output container to write COGs to.",
    )
