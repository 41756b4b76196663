"""Verify a written COG before it is published: its layout, its header and its pixels.

The checks are listed in docs/raster.md, "Verification". For comparing pixels see `compare.py`.

Called by `convert.py`.
"""

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader
from rio_cogeo.cogeo import cog_validate

from geo_platform.contracts.raster import CogVerification
from geo_platform.crs import same_crs
from geo_platform.errors import CogInvalid
from geo_platform.grid import GridShape
from geo_platform.raster.compare import Comparison, compare_lossy, compare_same_grid, compare_warped
from geo_platform.raster.georeference import file_crs
from geo_platform.raster.open import open_cog, open_raster
from geo_platform.raster.plan import CogPlan
from geo_platform.raster.run_tag import RUN_ID_ITEM
from geo_platform.raster.validity import nodata_values, same_value
from geo_platform.source.openable import OpenableSource


def verify_cog(
    path: Path, source: OpenableSource, plan: CogPlan, *, source_size_bytes: int, run_id: str = ""
) -> CogVerification:
    """Compare the COG with the plan and with the pixels of the source.

    Unless `run_id` is empty, the COG must hold this run id.
    Raises CogInvalid: if the COG cannot be read or anything differs; the message names the faults.
    Raises SourceUnreadable, SourceTruncated, UnsupportedFormat: if the source cannot be read.
    """
    with open_raster(source) as original:
        try:
            with open_cog(path) as written:
                faults = header_faults(written, plan)
                faults += (
                    [f"{RUN_ID_ITEM} is not the id of this run"]
                    if run_id and written.tags().get(RUN_ID_ITEM) != run_id
                    else []
                )
                comparison = None if faults else compare_pixels(original, written, plan)
            layout_faults, warnings = _layout_faults(path, plan)
        except rasterio.errors.RasterioError as error:
            raise CogInvalid(
                f"The COG of {source.display_name!r} could not be read back.", gdal=str(error)[:500]
            ) from error
    faults += layout_faults
    faults += comparison.faults if comparison else []
    if faults or comparison is None:
        raise CogInvalid(
            f"The COG of {source.display_name!r} differs from its plan: {'; '.join(faults)}.",
            faults=faults,
        )
    return CogVerification(
        is_valid_cog=True,
        warnings=tuple(warnings),
        sampled_pixels=comparison.sampled_pixels,
        differing_pixels=comparison.differing_pixels,
        largest_difference=comparison.largest_difference,
        compared_exactly=comparison.is_exact,
        size_ratio=round(path.stat().st_size / max(source_size_bytes, 1), 4),
    )


def compare_pixels(original: DatasetReader, written: DatasetReader, plan: CogPlan) -> Comparison:
    """Compare the pixels exactly, or with a tolerance if the plan warps or uses JPEG."""
    if plan.warps:
        return compare_warped(original, written, plan)
    return (
        compare_same_grid(original, written, plan)
        if plan.is_lossless
        else compare_lossy(original, written, plan)
    )


def header_faults(written: DatasetReader, plan: CogPlan) -> list[str]:
    """Return a phrase for each property of the header that differs from the plan."""
    transform = Affine(*plan.transform)
    pixel = max(abs(transform.a), abs(transform.e), abs(transform.b), abs(transform.d))
    has_planned_transform = np.allclose(
        tuple(written.transform)[:6], plan.transform, rtol=1e-9, atol=1e-6 * pixel
    )
    crs = file_crs(written)
    colors = [color.name.lower() for color in written.colorinterp]
    descriptions = [text or None for text in written.descriptions]
    overviews = _overview_shapes(written)
    checks = (
        (
            "CRS",
            crs is not None and same_crs(crs, CRS.from_wkt(plan.crs.wkt)),
            crs.name if crs else None,
        ),
        ("geotransform", bool(has_planned_transform), tuple(written.transform)[:6]),
        (
            "shape",
            (written.height, written.width) == (plan.shape.rows, plan.shape.cols),
            written.shape,
        ),
        ("band count", written.count == len(plan.bands), written.count),
        (
            "dtype",
            all(
                dtype == band.dtype for dtype, band in zip(written.dtypes, plan.bands, strict=False)
            ),
            written.dtypes,
        ),
        (
            "nodata",
            all(same_value(value, plan.nodata) for value in nodata_values(written)),
            nodata_values(written),
        ),
        (
            "colour interpretation",
            colors == [band.color_interpretation for band in plan.bands],
            colors,
        ),
        (
            "scales",
            tuple(written.scales) == tuple(band.scale for band in plan.bands),
            written.scales,
        ),
        (
            "offsets",
            tuple(written.offsets) == tuple(band.offset for band in plan.bands),
            written.offsets,
        ),
        (
            "descriptions",
            descriptions == [band.description for band in plan.bands],
            written.descriptions,
        ),
        (
            "units",
            [text or None for text in written.units] == [band.unit for band in plan.bands],
            written.units,
        ),
        ("mask", plan.has_internal_mask is _has_mask(written), written.mask_flag_enums[0]),
        (
            "overviews",
            overviews == [_overview_shape(plan.shape, factor) for factor in plan.overview_factors],
            overviews,
        ),
        ("compression", _compression(written) == plan.compression, _compression(written)),
        ("block size", plan.blocksize_px in written.block_shapes[0], written.block_shapes[0]),
    )
    return [f"{name} is {actual}" for name, matches, actual in checks if not matches]


def _overview_shapes(written: DatasetReader) -> list[tuple[int, int]]:
    """Return (rows, cols) of each overview.

    rasterio's `overviews()` divides two rounded widths, which is wrong for narrow rasters.
    """
    shapes: list[tuple[int, int]] = []
    for level in range(len(written.overviews(1))):
        with rasterio.open(
            written.name, driver="GTiff", sharing=False, OVERVIEW_LEVEL=level
        ) as overview:
            shapes.append((overview.height, overview.width))
    return shapes


def _overview_shape(shape: GridShape, factor: int) -> tuple[int, int]:
    # GDAL's COG driver rounds down, but not to 0.
    return max(shape.rows // factor, 1), max(shape.cols // factor, 1)


def _layout_faults(path: Path, plan: CogPlan) -> tuple[list[str], list[str]]:
    """Return (faults, warnings) of rio-cogeo's strict validation."""
    _, errors, warnings = cog_validate(str(path), strict=True, quiet=True)
    # rio-cogeo divides widths to get the decimation, so it refuses every overview of a raster that
    # is one pixel wide. header_faults compares the shapes of overviews.
    if plan.shape.cols == 1:
        errors = [error for error in errors if not error.startswith("Invalid Decimation 1 ")]
    faults = [*errors, *warnings]
    return [f"not a valid COG: {'; '.join(faults)}"] if faults else [], list(warnings)


def _has_mask(written: DatasetReader) -> bool:
    flags = written.mask_flag_enums[0]
    return (
        MaskFlags.per_dataset in flags
        and MaskFlags.alpha not in flags
        and MaskFlags.nodata not in flags
    )


def _compression(written: DatasetReader) -> str:
    codec = written.tags(ns="IMAGE_STRUCTURE").get("COMPRESSION", "NONE")
    return "JPEG" if "JPEG" in codec else codec
