"""What a person may ask of each raster stage: typed, ranged, described, closed. Dagster's forms and the CLI's options are made from these.

Enum members are named like their values, since Dagster's launchpad writes names and clients write values.
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
    """GDAL's names. `auto` follows the raster type."""

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
    """raster_profile"""

    input_crs: str | None = Field(
        None,
        description="CRS of the source where the file has none, for example EPSG:32618. One that differs from the file's is refused.",
    )
    override_crs: bool = Field(
        False, strict=True, description="Believe input_crs even where the file says otherwise."
    )
    raster_type: RasterTypeChoice = Field(
        RasterTypeChoice.auto, description="What the bands mean; auto detects it."
    )
    strict_mode: bool = Field(
        False,
        strict=True,
        description="Refuse 64-bit bands and a raster type that differs from the detected one.",
    )
    nodata: float | None = Field(
        None,
        strict=True,
        description="Nodata value where the file has none; one that differs from the file's is refused.",
    )


class RasterCogOptions(Options):
    """raster_cog"""

    output_tier: OutputTierChoice = Field(
        OutputTierChoice.analysis,
        description="analysis: lossless. visualization: JPEG, 8-bit RGB only. archive: lossless at the highest level. all: each that is possible.",
    )
    target_crs: str | None = Field(
        None,
        description="CRS to reproject to, for example EPSG:3857. Left out, the source's own is kept.",
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
        Resampling.auto, description="How overviews are made; auto follows the raster type."
    )
    reproject_resampling: Resampling = Field(
        Resampling.auto, description="How pixels are reprojected; auto follows the raster type."
    )
    output_folder: str = Field(
        "cogs",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$",
        max_length=200,
        description="Folder of the output container that the COG is written under.",
    )
