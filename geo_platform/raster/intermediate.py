"""Write intermediate TIFFs in scratch: a copy with a corrected header, and a warped copy.

Both copies keep all metadata that the COG keeps. Pixels are streamed in bounded memory. For the
decisions see `plan.py`; for the COG see `write.py`.

Called by `write.py`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from defusedxml.ElementTree import parse
from pyproj import CRS
from rasterio.crs import CRS as GdalCrs  # noqa: N811  # apart from pyproj's CRS
from rasterio.enums import ColorInterp
from rasterio.enums import Resampling as GdalResampling
from rasterio.errors import RasterioIOError
from rasterio.io import DatasetReader, DatasetWriter
from rasterio.vrt import WarpedVRT
from rasterio.warp import reproject
from rasterio.windows import Window

from geo_platform.crs import describe, same_crs
from geo_platform.errors import ParameterInvalid
from geo_platform.grid import GridShape
from geo_platform.raster.georeference import (
    control_points,
    corner_bounds,
    file_crs,
    points_bounds,
)
from geo_platform.raster.lonlat import ROUND_TRIP_M, x_period
from geo_platform.raster.metadata import other_domains
from geo_platform.raster.options import Resampling
from geo_platform.raster.plan import CogPlan
from geo_platform.raster.rasterio_internals import virtual_copy
from geo_platform.raster.sample import planned_pixels, planned_valid, spread_windows
from geo_platform.raster.target import centered_on_middle
from geo_platform.raster.validity import (
    NodataValue,
    has_masks_by_band,
    has_stored_mask,
    nodata_values,
    same_value,
    validity_of,
)

BLOCK_PX = 512
WINDOW_BYTES = 32 * 1024**2
WARP_MEMORY_MB = 64
# SAMPLE_GRID: to find the part of the source that a block needs, GDAL transforms points inside the
# block too. The outline alone misses parts at an antimeridian, a pole or a limb.
# UNIFIED_SRC_NODATA: rasterio's default YES takes the nodata value of a band for a number wherever
# another band has data, so -9999 would spread into the values beside it.
WARP_OPTIONS = {"NUM_THREADS": "ALL_CPUS", "SAMPLE_GRID": "YES", "UNIFIED_SRC_NODATA": "NO"}
NAN_SAMPLE_BYTES = 4 * 1024**2
# The first integer that GDAL's warper may change: it adds 0.5 to floats of 64 bits, which is exact
# below this one, and turns 2^63 - 1 into -2^63.
FIRST_ROUNDED = 2**52

# Tags that are not copied, because they describe the source file only: nodata as text, and the
# resampling of its overviews.
STALE_TAGS = ("NODATA_VALUES", "OVR_RESAMPLING_ALG")


def needs_corrected_copy(
    dataset: DatasetReader, plan: CogPlan, *, replaces_nan: bool = False
) -> bool:
    """Return whether the header or bands differ from the plan, apart from the grid.

    `replaces_nan`: pixels with NaN get the nodata value.

    A format other than TIFF always needs a copy, because the COG driver reads its source twice.
    """
    own_crs = file_crs(dataset)
    planned_colors = [band.color_interpretation for band in plan.bands]
    colors = [color.name.lower() for color in dataset.colorinterp]
    if plan.is_lossless and colors != planned_colors:
        return True  # as in a MINISWHITE TIFF; the COG driver would keep its colours undefined
    if (
        dataset.driver != "GTiff"
        or own_crs is None
        or not same_crs(own_crs, CRS.from_wkt(plan.source_crs.wkt))
    ):
        return True
    names_nan = plan.bands[0].nodata_is_nan and not any(
        value is not None for value in dataset.nodatavals
    )
    if (names_nan or replaces_nan) and not _can_have_another_header(dataset):
        return True
    if len(set(dataset.dtypes)) > 1 or not (
        names_nan or all(same_value(value, plan.nodata) for value in nodata_values(dataset))
    ):
        return True
    if plan.has_internal_mask and not validity_of(dataset).is_as_gdal_masks(dataset):
        return True
    if plan.has_internal_mask and has_masks_by_band(dataset):
        return True  # the COG driver copies only a mask of all bands
    if _mask_replaces_nodata(plan) and _placed_by_points(dataset) and dataset.nodata is not None:
        return True
    if plan.is_lossless:
        return plan.has_internal_mask and not plan.warps and not has_stored_mask(dataset)
    if plan.source_bands != (1, 2, 3):
        return True
    if plan.mask_source_band is not None:
        return dataset.colorinterp[plan.mask_source_band - 1] is not ColorInterp.alpha
    return False


def _mask_replaces_nodata(plan: CogPlan) -> bool:
    # A warp takes the nodata value instead of the mask if the dataset has both.
    return plan.warps and plan.has_internal_mask


def may_hold_nan(plan: CogPlan) -> bool:
    """Return whether pixels may be NaN beside another nodata value, which marks them too."""
    return (
        plan.bands[0].dtype.startswith("float")
        and plan.bands[0].nodata is not None
        and not plan.has_internal_mask
    )


def must_replace_nan(dataset: DatasetReader, plan: CogPlan) -> bool:
    """Return whether NaN pixels must be read as nodata, so that they do not spread.

    A warp or an average makes NaN of every pixel under whose kernel a NaN is. Where NaN would not
    spread, it is replaced as a precaution.
    """
    spreads = plan.overview_resampling not in (Resampling.nearest, Resampling.mode)
    return plan.warps or not spreads or holds_nan(dataset)


def holds_nan(dataset: DatasetReader) -> bool:
    """Return whether a pixel of a sample is NaN; all pixels are read if one tile holds them."""
    shape = GridShape(rows=dataset.height, cols=dataset.width)
    rows, cols = dataset.block_shapes[0]
    is_small = max(dataset.shape) <= BLOCK_PX
    return any(
        np.isnan(dataset.read(band, window=window)).any()
        for band in dataset.indexes
        for window in (
            (Window(0, 0, shape.cols, shape.rows),)
            if is_small
            else spread_windows(shape, GridShape(rows=rows, cols=cols), 8, NAN_SAMPLE_BYTES)
        )
    )


@contextmanager
def with_planned_nodata(
    dataset: DatasetReader, plan: CogPlan, *, replaces_nan: bool = False
) -> Iterator[DatasetReader]:
    """Open the dataset with the planned nodata value in its header; pixels are not copied.

    `replaces_nan`: pixels with NaN are read as the nodata value.
    """
    is_named = all(same_value(value, plan.nodata) for value in nodata_values(dataset))
    is_as_planned = plan.nodata is None or (is_named and not replaces_nan)
    if is_as_planned or _mask_replaces_nodata(plan):
        yield dataset
        return
    description = virtual_copy(dataset)
    for band in description.findall("VRTRasterBand"):
        value = band.find("NoDataValue")
        value = ElementTree.SubElement(band, "NoDataValue") if value is None else value
        value.text = str(plan.nodata)
        for source in band.findall("SimpleSource") if replaces_nan else ():
            source.tag = "ComplexSource"
            ElementTree.SubElement(source, "NODATA").text = "nan"
    text = ElementTree.tostring(description, encoding="unicode")
    with rasterio.open(text, driver="VRT", sharing=False) as renamed:
        yield renamed


def _can_have_another_header(dataset: DatasetReader) -> bool:
    # `with_planned_nodata` names the file in XML, and GDAL leaves out other domains there.
    return dataset.driver == "GTiff" and not other_domains(dataset) and "<" not in dataset.name


def _writes_mask(dataset: DatasetReader, plan: CogPlan) -> bool:
    """Return whether the corrected copy needs a mask of its own."""
    return plan.has_internal_mask and (
        not plan.is_lossless
        or has_stored_mask(dataset)
        or not validity_of(dataset).is_as_gdal_masks(dataset)
        or (plan.nodata is None and plan.source_nodata_value is not None)
    )


def write_corrected_copy(dataset: DatasetReader, plan: CogPlan, path: Path) -> None:
    """Copy the source on the same grid, with the planned CRS, nodata, bands and mask."""
    has_mask = _writes_mask(dataset, plan)
    georeference = (
        {"gcps": control_points(dataset), "crs": _gdal_crs(plan.source_crs.wkt)}
        if _placed_by_points(dataset)
        else {"transform": dataset.transform, "crs": _gdal_crs(plan.source_crs.wkt)}
    )
    with _create_planned_tiff(
        plan,
        path,
        GridShape(rows=dataset.height, cols=dataset.width),
        None if _mask_replaces_nodata(plan) else plan.nodata,
        georeference,
    ) as target:
        copy_metadata(dataset, target, plan, plan.source_bands)
        if plan.warps and plan.has_internal_mask:
            # The mask decides, so the warper must not take the alpha band for one.
            target.colorinterp = tuple(
                ColorInterp.undefined if color is ColorInterp.alpha else color
                for color in target.colorinterp
            )
        for window in windows(target):
            pixels = planned_pixels(dataset, plan, window)
            target.write(pixels, window=window)
            if has_mask:
                target.write_mask(planned_valid(dataset, plan, window), window=window)


def write_warped_copy(
    dataset: DatasetReader, plan: CogPlan, path: Path, *, was_corrected: bool
) -> None:
    """Warp the dataset onto the planned grid, and its mask if the plan has an internal mask.

    `was_corrected`: the dataset is the corrected copy, so its bands are in the plan's order.
    """
    bands = tuple(range(1, len(plan.bands) + 1)) if was_corrected else plan.source_bands
    georeference = {"crs": _gdal_crs(plan.crs.wkt), "transform": Affine(*plan.transform)}
    open_warped = _warped_by_points if _placed_by_points(dataset) else _warped
    with (
        rasterio.Env(**_position_checks(CRS.from_wkt(plan.crs.wkt))),
        open_warped(dataset, plan, path) as warped,
        _create_planned_tiff(plan, path, plan.shape, plan.nodata, georeference) as target,
    ):
        copy_metadata(dataset, target, plan, bands)
        for window in windows(target):
            target.write(warped.read(list(bands), window=window), window=window)
            if plan.has_internal_mask:
                target.write_mask(warped.read(warped.count, window=window) > 0, window=window)


def refuse_rounded(dataset: DatasetReader, plan: CogPlan, display_name: str) -> None:
    """Refuse a warp of integers that the warper does not keep; all pixels of 64 bits are read.

    Raises ParameterInvalid: if a valid pixel of the source is such an integer.
    """
    if not plan.warps or "int64" not in plan.bands[0].dtype:
        return
    for window in windows(dataset):
        pixels = planned_pixels(dataset, plan, window)
        is_rounded = pixels >= FIRST_ROUNDED
        if pixels.dtype.kind == "i":
            is_rounded |= pixels <= -FIRST_ROUNDED
        if is_rounded.any() and (is_rounded & planned_valid(dataset, plan, window)).any():
            raise ParameterInvalid(
                f"{display_name!r} holds integers of 2^52 and more. Warping it to "
                f"{describe(CRS.from_wkt(plan.crs.wkt))} would change them.",
                remedy="Leave `target_crs` out, or accept rounded numbers and convert the raster "
                "before: gdal_translate -ot Float64.",
            )


def _position_checks(target: CRS) -> dict[str, str]:
    """Return GDAL's settings that keep pixels beyond the edge of a map of the world without data.

    PROJ returns positions for some of them that belong to the other edge. They do not transform
    back to where they came from. In degrees and cylindrical projections there is no such edge.
    """
    if not target.is_projected or x_period(target) is not None:
        return {}
    return {"CHECK_WITH_INVERT_PROJ": "YES", "THRESHOLD": str(ROUND_TRIP_M)}


@contextmanager
def _warped(dataset: DatasetReader, plan: CogPlan, _: Path) -> Iterator[DatasetReader]:
    """Open the source as if it were on the planned grid; pixels are computed when they are read.

    The header of the source must have the planned source CRS.
    """
    shape = GridShape(rows=dataset.height, cols=dataset.width)
    centered = centered_on_middle(
        corner_bounds(dataset.transform, shape), CRS.from_wkt(plan.source_crs.wkt)
    )
    georeference = {}
    if centered is not None:
        crs, shift = centered
        georeference = {
            "src_crs": _gdal_crs(crs.to_wkt()),
            "src_transform": Affine.translation(-shift, 0) @ dataset.transform,
        }
    with WarpedVRT(
        dataset,
        **georeference,
        crs=_gdal_crs(plan.crs.wkt),
        transform=Affine(*plan.transform),
        width=_width_to_warp(plan),
        height=plan.shape.rows,
        resampling=_resampling(plan),
        add_alpha=plan.has_internal_mask and ColorInterp.alpha not in dataset.colorinterp,
        **({"src_nodata": None, "nodata": None} if _mask_replaces_nodata(plan) else {}),
        warp_mem_limit=WARP_MEMORY_MB,
        **WARP_OPTIONS,
    ) as warped:
        yield warped


def _width_to_warp(plan: CogPlan) -> int:
    """Return the columns to compute, of which those beyond the plan are not read.

    GDAL transforms the ends and the middle of a line, and interpolates the rest if the middle is
    where it expects it. In a line that is symmetrical about its middle, such as one through the
    middle of a full disc, it always is. More columns on one side make such a line asymmetrical.
    """
    cols, period = plan.shape.cols, x_period(CRS.from_wkt(plan.crs.wkt))
    goes_around = period is not None and plan.bounds.xmax - plan.bounds.xmin > period * (1 - 1e-9)
    return cols if goes_around or cols > BLOCK_PX else cols + cols * 3 // 8


@contextmanager
def _warped_by_points(dataset: DatasetReader, plan: CogPlan, path: Path) -> Iterator[DatasetReader]:
    """Open the source as warped by its ground control points, through a file beside `path`.

    rasterio's WarpedVRT ignores ground control points if a target grid is passed.
    """
    alpha = next(
        (
            index
            for index, color in zip(dataset.indexes, dataset.colorinterp, strict=True)
            if color is ColorInterp.alpha
        ),
        0,
    )
    adds_alpha = plan.has_internal_mask and not alpha
    bands = [index for index in dataset.indexes if index != alpha]
    count = dataset.count + adds_alpha
    points_path = path.with_suffix(".points.tif")
    georeference = {"crs": _gdal_crs(plan.crs.wkt), "transform": Affine(*plan.transform)}
    try:
        with (
            _create_tiff(
                points_path,
                plan.shape,
                count=count,
                dtype=plan.bands[0].dtype,
                # The warper would fill alpha with the nodata value too, where nothing is.
                nodata=None if _mask_replaces_nodata(plan) else plan.nodata,
                **georeference,
            ) as target,
            _with_points_in_reach(
                dataset, CRS.from_wkt(plan.source_crs.wkt), path.with_suffix(".points.vrt")
            ) as reachable,
        ):
            reproject(
                rasterio.band(reachable, bands),
                rasterio.band(target, bands),
                resampling=_resampling(plan),
                src_alpha=alpha,
                dst_alpha=count if adds_alpha else alpha,
                warp_mem_limit=WARP_MEMORY_MB,
                **WARP_OPTIONS,
            )
        with rasterio.open(points_path, driver="GTiff", sharing=False) as warped:
            yield warped
    finally:
        points_path.unlink(missing_ok=True)


def copy_metadata(
    dataset: DatasetReader, target: DatasetWriter, plan: CogPlan, bands: tuple[int, ...]
) -> None:
    """Copy tags, names, units, scales, offsets and colours.

    `bands` are the dataset's band numbers in the plan's order. Statistics that GDAL computed are
    dropped if pixels change.
    """
    keeps_statistics = plan.is_lossless and not plan.warps
    target.update_tags(
        **{key: value for key, value in dataset.tags().items() if key not in STALE_TAGS}
    )
    for domain in other_domains(dataset):
        target.update_tags(ns=domain, **dataset.tags(ns=domain))
    target.descriptions = tuple(band.description for band in plan.bands)
    target.scales = tuple(band.scale for band in plan.bands)
    target.offsets = tuple(band.offset for band in plan.bands)
    target.units = tuple(band.unit or "" for band in plan.bands)
    for index, source_band in enumerate(bands, start=1):
        tags = {
            key: value
            for key, value in dataset.tags(source_band).items()
            if keeps_statistics or not key.startswith("STATISTICS_")
        }
        target.update_tags(index, **tags)
        if plan.bands[index - 1].has_color_table:
            target.write_colormap(index, dataset.colormap(source_band))
    colors = tuple(ColorInterp[_color_name(band.color_interpretation)] for band in plan.bands)
    if colors != target.colorinterp:
        target.colorinterp = colors


def windows(target: DatasetReader | DatasetWriter) -> Iterator[Window]:
    """Yield windows of whole tiles in row order, each bounded in bytes, that cover the grid."""
    pixel = sum(np.dtype(dtype).itemsize for dtype in target.dtypes)
    width = max(WINDOW_BYTES // (BLOCK_PX * pixel) // BLOCK_PX, 1) * BLOCK_PX
    for row in range(0, target.height, BLOCK_PX):
        for col in range(0, target.width, width):
            yield Window(
                col, row, min(width, target.width - col), min(BLOCK_PX, target.height - row)
            )


def _create_planned_tiff(
    plan: CogPlan,
    path: Path,
    shape: GridShape,
    nodata: NodataValue | None,
    georeference: dict[str, Any],
) -> DatasetWriter:
    """Create a tiled TIFF with the planned bands."""
    colors = {"photometric": "RGB"} if plan.bands[0].color_interpretation == "red" else {}
    if plan.has_internal_mask and len(plan.bands) > (3 if colors else 1):
        # GDAL's threads read the list of extra samples while writing a mask replaces it, and print
        # an error.
        colors |= {"num_threads": "1"}
    return _create_tiff(
        path,
        shape,
        count=len(plan.bands),
        dtype=plan.bands[0].dtype,
        # rasterio rounds values of 64 bits; `with_planned_nodata` names them.
        nodata=None if "int64" in plan.bands[0].dtype else nodata,
        **georeference,
        **colors,
    )


def _create_tiff(
    path: Path, shape: GridShape, *, count: int, dtype: str, nodata: float | None, **more: Any
) -> DatasetWriter:
    # Use light compression, because the file is read once or twice and then removed.
    return rasterio.open(
        path,
        "w+",
        driver="GTiff",
        width=shape.cols,
        height=shape.rows,
        count=count,
        dtype=dtype,
        nodata=nodata,
        tiled=True,
        blockxsize=BLOCK_PX,
        blockysize=BLOCK_PX,
        compress="ZSTD",
        zstd_level=1,
        interleave="pixel" if count <= 8 else "band",
        bigtiff="IF_SAFER",
        **{"num_threads": "ALL_CPUS"} | more,
    )


@contextmanager
def _with_points_in_reach(dataset: DatasetReader, crs: CRS, path: Path) -> Iterator[DatasetReader]:
    """Open the dataset so that GDAL's warper finds ground control points past the antimeridian.

    The points are moved together with the meridian of the CRS, in a VRT at `path`: a TIFF cannot
    hold such a CRS.
    """
    points = control_points(dataset)
    centered = centered_on_middle(points_bounds(points), crs)
    if centered is None:
        yield dataset
        return
    moved, shift = centered
    try:
        rasterio.shutil.copy(dataset, str(path), driver="VRT")
        document = parse(path)
        root = document.getroot()
        listed = None if root is None else root.find("GCPList")
        if listed is None:
            raise RasterioIOError("The VRT has no ground control points.")
        is_xy = moved.axis_info[0].direction == "east"
        listed.set("Projection", moved.to_wkt())
        listed.set("dataAxisToSRSAxisMapping", "1,2" if is_xy else "2,1")
        for element, point in zip(listed, points, strict=True):
            element.set("X", repr(point.x - shift))
        document.write(path)
        with rasterio.open(path, driver="VRT", sharing=False) as found:
            yield found
    finally:
        path.unlink(missing_ok=True)


def _placed_by_points(dataset: DatasetReader) -> bool:
    """Return whether there are ground control points and no geotransform."""
    return bool(dataset.gcps[0]) and dataset.transform == Affine.identity()


def _resampling(plan: CogPlan) -> GdalResampling:
    return GdalResampling[(plan.reproject_resampling or plan.overview_resampling).value]


def _gdal_crs(wkt: str) -> GdalCrs:
    return GdalCrs.from_wkt(wkt)


def _color_name(color: str) -> str:
    return next((name for name in ColorInterp.__members__ if name.lower() == color), "undefined")
