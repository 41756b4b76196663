"""Plan the COGs of a profiled source: tiers, codecs, predictor, resampling, masks, with reasons.

A tier is a purpose of a COG: analysis and archive are lossless, visualization is JPEG. No file is
opened here. For the grid see `target.py`; for writing the COG see `write.py`.

Used by `chains` and `raster`.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from geo_platform.contracts.message import Finding, Part, SpatialReference
from geo_platform.contracts.raster import OutputTier, RasterBand, RasterProfiled, RasterType
from geo_platform.errors import RasterTypeMismatch
from geo_platform.grid import Bounds, GridShape, LonLatBounds
from geo_platform.raster.options import (
    LosslessCompression,
    OutputTierChoice,
    RasterCogOptions,
    Resampling,
)
from geo_platform.raster.target import TargetGrid, decide_grid

COG_BLOCKSIZE_PX = 512
# The first integer whose neighbour is the same float of 32 bits.
FIRST_ROUNDED_NODATA = 2**24

# Compression levels. For analysis, GDAL's defaults. For archive, the highest level that does not
# need more memory to read; ZSTD needs more above level 19.
LEVELS = {
    (OutputTier.analysis, "ZSTD"): 9,
    (OutputTier.analysis, "DEFLATE"): 6,
    (OutputTier.archive, "ZSTD"): 19,
    (OutputTier.archive, "DEFLATE"): 9,
}

# Default resampling by raster type: (of overviews, of reprojection).
RESAMPLING = {
    RasterType.rgb: (Resampling.cubic, Resampling.cubic),
    RasterType.rgba: (Resampling.cubic, Resampling.cubic),
    RasterType.dem: (Resampling.average, Resampling.bilinear),
    RasterType.continuous: (Resampling.average, Resampling.bilinear),
    RasterType.multispectral: (Resampling.average, Resampling.bilinear),
    RasterType.nir: (Resampling.average, Resampling.bilinear),
    RasterType.categorical: (Resampling.mode, Resampling.nearest),
}


class CogPlan(Part):
    """The decisions about one COG. `verify.py` compares the written COG with them."""

    tier: OutputTier
    raster_type: RasterType
    crs: SpatialReference
    shape: GridShape
    transform: tuple[float, float, float, float, float, float]
    bounds: Bounds
    lonlat_bounds: LonLatBounds
    bands: tuple[RasterBand, ...] = Field(
        description="bands of the COG, with the statistics of the source"
    )
    source_crs: SpatialReference
    source_nodata: int | float | None = Field(
        description="nodata of the file or the request; None if source_nodata_is_nan"
    )
    source_nodata_is_nan: bool
    source_bands: tuple[int, ...] = Field(
        description="band numbers of the source, from 1, in the COG's order"
    )
    mask_source_band: int | None = Field(description="source band that becomes the internal mask")
    has_internal_mask: bool
    compression: str = Field(description="ZSTD | DEFLATE | JPEG")
    level: int | None = Field(description="compression level; None for JPEG")
    jpeg_quality: int | None
    predictor: int = Field(description="TIFF: 1 none, 2 horizontal, 3 floating point")
    blocksize_px: int
    overview_factors: tuple[int, ...]
    overview_resampling: Resampling
    reproject_resampling: Resampling | None = Field(description="None if the source's grid is kept")
    warps: bool = Field(
        description="the grid is not the source's: another CRS, or placed by ground control points"
    )
    is_reprojected: bool = Field(description="the CRS is not the source's")
    requested_crs: str | None = Field(description="target_crs of the request")
    reasons: tuple[str, ...]

    @property
    def is_lossless(self) -> bool:
        return self.compression != "JPEG"

    @property
    def source_nodata_value(self) -> int | float | None:
        """The source's nodata value, which may be NaN."""
        return float("nan") if self.source_nodata_is_nan else self.source_nodata

    @property
    def nodata(self) -> int | float | None:
        """The nodata value of all bands, which may be NaN."""
        return float("nan") if self.bands[0].nodata_is_nan else self.bands[0].nodata


@dataclass(frozen=True)
class CogPlans:
    """The COGs to write, at least one. The first is the main COG of the STAC item.

    `refused_tiers`: with output_tier `all`, the tiers that cannot be made, each with the reason.
    `warnings`: what the COGs leave out.
    """

    plans: tuple[CogPlan, ...]
    refused_tiers: tuple[Finding, ...]
    warnings: tuple[Finding, ...] = ()


def plan_cogs(profile: RasterProfiled, options: RasterCogOptions) -> CogPlans:
    """Plan the requested COGs. The user's options take precedence over the raster type's defaults.

    Raises RasterTypeMismatch: if a single tier is requested and it cannot be made.
    Raises ParameterInvalid: if `target_crs` is not a usable CRS, cannot represent the area of the
    source, or makes the grid too large.
    """
    grid = decide_grid(profile, options.target_crs)
    if options.output_tier is not OutputTierChoice.all:
        tier = OutputTier(options.output_tier.value)
        reason = tier_refusal(tier, profile)
        if reason:
            raise RasterTypeMismatch(
                f"{profile.source.key!r} cannot be converted to the {tier.value} tier: {reason}.",
                remedy="Set output_tier=analysis or output_tier=all.",
            )
        return CogPlans((_plan(profile, options, grid, tier),), (), grid.warnings)
    tiers = (OutputTier.analysis, OutputTier.visualization, OutputTier.archive)
    refusals = {tier: tier_refusal(tier, profile) for tier in tiers}
    return CogPlans(
        tuple(_plan(profile, options, grid, tier) for tier in tiers if refusals[tier] is None),
        tuple(
            Finding(code="TIER_REFUSED", message=f"{tier.value}: {reason}")
            for tier, reason in refusals.items()
            if reason
        ),
        grid.warnings,
    )


def tier_refusal(tier: OutputTier, profile: RasterProfiled) -> str | None:
    """Return why the tier cannot be made, or None if it can. Only visualization has conditions."""
    if tier is not OutputTier.visualization:
        return None
    if profile.raster_type not in (RasterType.rgb, RasterType.rgba):
        return (
            f"JPEG is for colour images, but this is {profile.raster_type.value} "
            f"({profile.raster_type_reason})"
        )
    dtypes = sorted({band.dtype for band in profile.bands})
    if dtypes != ["uint8"]:
        return f"JPEG holds 8 bits per band, but the bands are {', '.join(dtypes)}"
    if len(profile.bands) > 4 or (
        len(profile.bands) == 4
        and profile.raster_type is not RasterType.rgba
        and not _alpha_band(profile)
    ):
        return f"JPEG holds three bands and a mask, but there are {len(profile.bands)} bands"
    return None


def _plan(
    profile: RasterProfiled, options: RasterCogOptions, grid: TargetGrid, tier: OutputTier
) -> CogPlan:
    lossless = tier is not OutputTier.visualization
    compression = "JPEG"
    if lossless:
        compression = "DEFLATE" if options.compression is LosslessCompression.deflate else "ZSTD"
    bands = _cog_bands(profile, lossless=lossless)
    source_bands = tuple(band.index for band in bands)
    bands = tuple(
        band.model_copy(update={"index": index}) for index, band in enumerate(bands, start=1)
    )
    overview_default, reproject_default = RESAMPLING[profile.raster_type]
    overview, overview_reason = _resampling(
        options.overview_resampling, overview_default, profile.raster_type
    )
    reproject, reproject_reason = _resampling(
        options.reproject_resampling, reproject_default, profile.raster_type
    )
    grid_reason = grid.reason
    if grid.warps:
        grid_reason = f"{grid.reason}; by {reproject.value}: {reproject_reason}"
    predictor, predictor_reason = (
        _predictor(profile.raster_type, bands[0]) if lossless else (1, "JPEG has no predictor")
    )
    mask_band = _mask_band(profile) if not lossless else None
    has_mask, mask_reason = _internal_mask(profile, grid, lossless=lossless)
    if lossless and has_mask and grid.warps and any(map(_is_nodata_rounded, profile.bands)):
        bands = _without_nodata(bands)
    elif lossless and not has_mask and _alpha_band(profile) is None:
        bands = _with_nan_as_nodata(bands)
    return CogPlan(
        tier=tier,
        raster_type=profile.raster_type,
        crs=grid.crs,
        shape=grid.shape,
        transform=grid.transform,
        bounds=grid.bounds,
        lonlat_bounds=grid.lonlat_bounds,
        bands=bands
        if not has_mask
        else tuple(band.model_copy(update={"mask": "per_dataset"}) for band in bands),
        source_crs=profile.crs,
        source_nodata=profile.bands[0].nodata,
        source_nodata_is_nan=profile.bands[0].nodata_is_nan,
        source_bands=source_bands,
        mask_source_band=mask_band,
        has_internal_mask=has_mask,
        compression=compression,
        level=LEVELS.get((tier, compression)),
        jpeg_quality=None if lossless else options.jpeg_quality,
        predictor=predictor,
        blocksize_px=COG_BLOCKSIZE_PX,
        overview_factors=overview_factors(grid.shape, COG_BLOCKSIZE_PX),
        overview_resampling=overview,
        reproject_resampling=reproject if grid.warps else None,
        warps=grid.warps,
        is_reprojected=grid.is_reprojected,
        requested_crs=options.target_crs,
        reasons=(
            f"raster type {profile.raster_type.value}: {profile.raster_type_reason}",
            _tier_reason(tier, compression),
            f"predictor {predictor}: {predictor_reason}",
            f"overviews by {overview.value}: {overview_reason}",
            grid_reason,
            mask_reason,
        ),
    )


def overview_factors(shape: GridShape, blocksize_px: int) -> tuple[int, ...]:
    """Return the decimation factor of each overview: powers of two, until one block is enough.

    GDAL's COG driver uses the same rule.
    """
    factors: list[int] = []
    factor = 1
    while max(shape.rows, shape.cols) // factor > blocksize_px:
        factor *= 2
        factors.append(factor)
    return tuple(factors)


def _cog_bands(profile: RasterProfiled, *, lossless: bool) -> tuple[RasterBand, ...]:
    """Return the bands in the order of the COG.

    Lossless: all bands get the widest dtype. If the first band has no colour interpretation, it
    becomes gray, because a TIFF needs one; so does a palette without a colour table. A TIFF of
    several bands holds no colour table. JPEG: three colours without a nodata value; pixels with
    nodata are masked instead.
    """
    if lossless:
        widest = np.result_type(*(band.dtype for band in profile.bands)).name
        is_single = len(profile.bands) == 1
        return tuple(
            band.model_copy(
                update={
                    "dtype": widest,
                    "color_interpretation": _cog_color(band, is_single=is_single),
                    "has_color_table": band.has_color_table and is_single,
                }
            )
            for band in profile.bands
        )
    colors = ("red", "green", "blue")
    return tuple(
        band.model_copy(
            update={
                "color_interpretation": color,
                "nodata": None,
                "nodata_is_nan": False,
                "mask": "all_valid",
            }
        )
        for band, color in zip(_color_bands(profile.bands), colors, strict=True)
    )


def _without_nodata(bands: tuple[RasterBand, ...]) -> tuple[RasterBand, ...]:
    return tuple(band.model_copy(update={"nodata": None, "nodata_is_nan": False}) for band in bands)


def _with_nan_as_nodata(bands: tuple[RasterBand, ...]) -> tuple[RasterBand, ...]:
    """Name NaN as the nodata value of floats without one, so that readers leave out such pixels."""
    if not bands[0].dtype.startswith("float") or bands[0].nodata is not None:
        return bands
    return tuple(
        band.model_copy(update={"nodata_is_nan": True, "mask": "nodata"}) for band in bands
    )


def _cog_color(band: RasterBand, *, is_single: bool) -> str:
    color = band.color_interpretation
    if color == "palette" and not (band.has_color_table and is_single):
        color = "undefined"
    return "gray" if color == "undefined" and band.index == 1 else color


def _color_bands(bands: tuple[RasterBand, ...]) -> tuple[RasterBand, ...]:
    """Return the bands that the file marks red, green and blue, else the first three bands."""
    named = {band.color_interpretation: band for band in bands}
    if {"red", "green", "blue"} <= set(named):
        return named["red"], named["green"], named["blue"]
    return bands[:3]


def _alpha_band(profile: RasterProfiled) -> int | None:
    return next(
        (band.index for band in profile.bands if band.color_interpretation == "alpha"), None
    )


def _is_alpha_read(profile: RasterProfiled) -> bool:
    """Return whether GDAL takes the alpha band for the mask of the other bands by itself."""
    return (
        (len(profile.bands), _alpha_band(profile)) in ((2, 2), (4, 4))
        and {band.dtype for band in profile.bands} <= {"uint8", "uint16"}
        and not _has_nodata(profile)
    )


def _mask_band(profile: RasterProfiled) -> int | None:
    """Return the band from which, with the nodata value, the mask of a JPEG is made."""
    return _alpha_band(profile) or (4 if len(profile.bands) == 4 else None)


def _is_nodata_rounded(band: RasterBand) -> bool:
    """Return whether GDAL's warper takes other pixels for nodata: it compares 32-bit floats."""
    if band.nodata is None:
        return False
    is_beyond = band.dtype in ("int32", "uint32") and abs(band.nodata) >= FIRST_ROUNDED_NODATA
    return is_beyond or "int64" in band.dtype


def _has_nodata(profile: RasterProfiled) -> bool:
    return profile.bands[0].nodata is not None or profile.bands[0].nodata_is_nan


def _internal_mask(
    profile: RasterProfiled, grid: TargetGrid, *, lossless: bool
) -> tuple[bool, str]:
    """Return (whether the COG has an internal mask, the reason)."""
    kinds = {band.mask for band in profile.bands}
    has_source_mask = bool(kinds & {"per_dataset", "per_band"})
    is_partly_transparent = bool(kinds & {"palette", "color"})
    if not lossless:
        needs_mask = (
            has_source_mask
            or is_partly_transparent
            or grid.warps
            or _has_nodata(profile)
            or _mask_band(profile) is not None
        )
        return (
            needs_mask,
            "internal mask: JPEG does not keep nodata values exactly"
            if needs_mask
            else "no mask: every pixel is valid",
        )
    if has_source_mask:
        return True, "internal mask, as in the source"
    if is_partly_transparent:
        return True, "internal mask, because a TIFF has no transparent colours"
    if _alpha_band(profile) is not None:
        if _is_alpha_read(profile):
            return False, "alpha band, as in the source"
        return True, "internal mask: GDAL does not read an alpha band of this place and type"
    if grid.warps and any(_is_nodata_rounded(band) for band in profile.bands):
        return True, "internal mask: GDAL's warper compares long integers with nodata inexactly"
    if _has_nodata(profile):
        return False, "nodata value, as in the source or the request"
    if any(band.dtype.startswith("float") for band in profile.bands):
        return False, "NaN as nodata value: NaN is never valid"
    if grid.warps:
        return (
            True,
            "internal mask: warping leaves corners without data, and there is no nodata value",
        )
    return False, "no mask: the source has neither nodata nor mask"


def _predictor(raster_type: RasterType, band: RasterBand) -> tuple[int, str]:
    if raster_type is RasterType.categorical:
        return 1, "values of neighbouring classes are unrelated"
    if band.dtype.startswith("float"):
        return 3, f"{band.dtype} values"
    return 2, f"{band.dtype} values that change gradually"


def _tier_reason(tier: OutputTier, compression: str) -> str:
    if tier is OutputTier.visualization:
        return "visualization: JPEG, for display; values change slightly"
    level = LEVELS[tier, compression]
    quality = (
        "lossless"
        if tier is OutputTier.analysis
        else "lossless, at the highest level that needs no more memory to read"
    )
    return f"{tier.value}: {compression} level {level}, {quality}"


def _resampling(
    choice: Resampling, default: Resampling, raster_type: RasterType
) -> tuple[Resampling, str]:
    """Return (resampling, the reason)."""
    if choice is Resampling.auto:
        return default, f"the default for {raster_type.value}"
    return choice, "requested"
