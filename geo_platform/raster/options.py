"""Options of the raster stages raster_profile and raster_cog.

The name of each enum member equals its value, because Dagster's launchpad writes the name and other
clients write the value.

Used by `assets`, `chains` and `raster`.
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
    """GDAL's names of resampling methods. `auto` chooses the method by raster type."""

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
    """Options of the stage raster_profile, which describes the source."""

    input_crs: str | None = Field(
        None,
        description="CRS of the source, if the file has none, for example EPSG:32618. "
        "A value that differs from the CRS of the file is refused.",
    )
    override_crs: bool = Field(
        False, strict=True, description="Use input_crs even if the file has another CRS."
    )
    raster_type: RasterTypeChoice = Field(
        RasterTypeChoice.auto, description="Meaning of the bands. auto: detect it from the bands."
    )
    strict_mode: bool = Field(
        False,
        strict=True,
        description="Refuse 64-bit bands, and a raster_type that differs from the detected one.",
    )
    nodata: float | None = Field(
        None,
        strict=True,
        description="Nodata value, if the file has none. "
        "A value that differs from the nodata value of the file is refused.",
    )


class RasterCogOptions(Options):
    """Options of the stage raster_cog, which converts the source to COGs."""

    output_tier: OutputTierChoice = Field(
        OutputTierChoice.analysis,
        description="analysis: lossless. visualization: JPEG, 8-bit RGB only. "
        "archive: lossless, compressed at the highest level. all: every tier that the bands allow.",
    )
    target_crs: str | None = Field(
        None,
        description="CRS to reproject to, for example EPSG:3857. "
        "Default: keep the CRS of the source.",
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
        Resampling.auto, description="Resampling of the overviews. auto: by raster type."
    )
    reproject_resampling: Resampling = Field(
        Resampling.auto, description="Resampling of the reprojected pixels. auto: by raster type."
    )
    output_folder: str = Field(
        "cogs",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$",
        max_length=200,
        description="Folder of the output container for the COGs.",
    )
