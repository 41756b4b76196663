"""Intermediate files in scratch: a source whose header had to be mended, and a warped one. Both carry all that a COG keeps.

What belongs here: streaming pixels, masks and metadata from a dataset to a plain tiled TIFF in bounded memory, and telling
whether that is needed. What stays out: choices (`plan.py`), the COG (`write.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.crs import CRS as GdalCrs  # noqa: N811
from rasterio.enums import ColorInterp
from rasterio.enums import Resampling as GdalResampling
from rasterio.io import DatasetReader, DatasetWriter
from rasterio.vrt import WarpedVRT
from rasterio.warp import reproject
from rasterio.windows import Window

from geo_platform.crs import same_crs
from geo_platform.grid import GridShape
from geo_platform.raster.georeference import file_crs
from geo_platform.raster.metadata import other_domains
from geo_platform.raster.nodata import same_value
from geo_platform.raster.plan import CogPlan
from geo_platform.raster.sample import has_dataset_mask, planned_pixels, planned_valid
from geo_platform.raster.target import counted_from_middle

BLOCK_PX = 512
WINDOW_BYTES = 32 * 1024**2
WARP_MEMORY_MB = 64

# What a decoder says of its own file: a second nodata in words, and how overviews were made that
# are not taken over.
STALE_TAGS = ("NODATA_VALUES", "OVR_RESAMPLING_ALG")


def needs_mending(dataset: DatasetReader, plan: CogPlan) -> bool:
    """Whether the header or the bands are not yet what is planned on the source's own grid.

    Formats other than TIFF are decoded once into a TIFF, since the COG driver reads its source twice.
    """
    own = file_crs(dataset)
    if dataset.colorinterp[0] is ColorInterp.undefined:
        return True  # a TIFF that leaves the first band's colour open, as one of MINISWHITE does, would keep it so
    if (
        dataset.driver != "GTiff"
        or own is None
        or not same_crs(own, CRS.from_wkt(plan.source_crs.wkt))
    ):
        return True
    if len(set(dataset.dtypes)) > 1 or not all(
        same_value(value, plan.nodata) for value in dataset.nodatavals
    ):
        return True
    if plan.is_lossless:
        return plan.has_internal_mask and not plan.warps and not has_dataset_mask(dataset)
    if plan.source_bands != (1, 2, 3):
        return True
    if plan.mask_source_band is not None:
        return dataset.colorinterp[plan.mask_source_band - 1] is not ColorInterp.alpha
    return False


def mend(dataset: DatasetReader, plan: CogPlan, path: Path) -> None:
    """Copy the source's grid with the planned CRS, nodata, bands and mask."""
    masks = plan.has_internal_mask and (not plan.is_lossless or has_dataset_mask(dataset))
    crs = _gdal_crs(plan.source_crs.wkt)
    place = (
        {"gcps": dataset.gcps[0], "crs": crs}
        if _placed_by_points(dataset)
        else {"transform": dataset.transform, "crs": crs}
    )
    with _created(plan, path, GridShape(rows=dataset.height, cols=dataset.width), place) as target:
        copy_metadata(dataset, target, plan, plan.source_bands)
        for window in windows(target):
            pixels = planned_pixels(dataset, plan, window)
            target.write(pixels, window=window)
            if masks:
                target.write_mask(planned_valid(dataset, pixels, plan, window), window=window)


def warp(dataset: DatasetReader, plan: CogPlan, path: Path, *, was_mended: bool) -> None:
    """Warp onto the planned grid. Where there is neither nodata nor alpha the mask is warped along."""
    bands = tuple(range(1, len(plan.bands) + 1)) if was_mended else plan.source_bands
    place = {"crs": _gdal_crs(plan.crs.wkt), "transform": Affine(*plan.transform)}
    opened = _warped_by_points if _placed_by_points(dataset) else _warped
    with opened(dataset, plan, path) as warped, _created(plan, path, plan.shape, place) as target:
        copy_metadata(dataset, target, plan, bands)
        for window in windows(target):
            target.write(warped.read(list(bands), window=window), window=window)
            if plan.has_internal_mask:
                target.write_mask(warped.read(warped.count, window=window) > 0, window=window)


@contextmanager
def _warped(dataset: DatasetReader, plan: CogPlan, _: Path) -> Iterator[DatasetReader]:
    """The source seen on the planned grid, computed while it is read. The source's CRS is in its header by now."""
    shape = GridShape(rows=dataset.height, cols=dataset.width)
    counted = counted_from_middle(dataset.transform, shape, CRS.from_wkt(plan.source_crs.wkt))
    place = (
        {}
        if counted is None
        else {"src_crs": _gdal_crs(counted[0].to_wkt()), "src_transform": counted[1]}
    )
    with WarpedVRT(
        dataset,
        **place,
        crs=_gdal_crs(plan.crs.wkt),
        transform=Affine(*plan.transform),
        width=plan.shape.cols,
        height=plan.shape.rows,
        resampling=_resampling(plan),
        add_alpha=plan.has_internal_mask and ColorInterp.alpha not in dataset.colorinterp,
        warp_mem_limit=WARP_MEMORY_MB,
        NUM_THREADS="ALL_CPUS",
    ) as warped:
        yield warped


@contextmanager
def _warped_by_points(dataset: DatasetReader, plan: CogPlan, path: Path) -> Iterator[DatasetReader]:
    """The same by way of a file: given a grid, rasterio's WarpedVRT passes over ground control points."""
    alpha = next(
        (
            index
            for index, color in zip(dataset.indexes, dataset.colorinterp, strict=True)
            if color is ColorInterp.alpha
        ),
        0,
    )
    adds = plan.has_internal_mask and not alpha
    bands = [index for index in dataset.indexes if index != alpha]
    count = dataset.count + adds
    between = path.with_suffix(".points.tif")
    place = {"crs": _gdal_crs(plan.crs.wkt), "transform": Affine(*plan.transform)}
    try:
        with _plain_tiff(
            between, plan.shape, count=count, dtype=plan.bands[0].dtype, nodata=plan.nodata, **place
        ) as target:
            reproject(
                rasterio.band(dataset, bands),
                rasterio.band(target, bands),
                resampling=_resampling(plan),
                src_alpha=alpha,
                dst_alpha=count if adds else alpha,
                warp_mem_limit=WARP_MEMORY_MB,
                NUM_THREADS="ALL_CPUS",
            )
        with rasterio.open(between, driver="GTiff", sharing=False) as warped:
            yield warped
    finally:
        between.unlink(missing_ok=True)


def copy_metadata(
    dataset: DatasetReader, target: DatasetWriter, plan: CogPlan, bands: tuple[int, ...]
) -> None:
    """Tags, names, units, scales, offsets, colours. `bands` are the dataset's, in the plan's order.

    Figures that GDAL computed once go stale when pixels change.
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
    wanted = tuple(ColorInterp[_gdal_name(band.color_interpretation)] for band in plan.bands)
    if wanted != target.colorinterp:
        target.colorinterp = wanted


def windows(target: DatasetWriter) -> Iterator[Window]:
    """The grid in rows of tiles, each window a whole number of tiles and bounded in bytes."""
    pixel = sum(np.dtype(dtype).itemsize for dtype in target.dtypes)
    width = max(WINDOW_BYTES // (BLOCK_PX * pixel) // BLOCK_PX, 1) * BLOCK_PX
    for row in range(0, target.height, BLOCK_PX):
        for col in range(0, target.width, width):
            yield Window(
                col, row, min(width, target.width - col), min(BLOCK_PX, target.height - row)
            )


def _created(plan: CogPlan, path: Path, shape: GridShape, place: dict[str, Any]) -> DatasetWriter:
    """A tiled TIFF with the planned bands."""
    colors = {"photometric": "RGB"} if plan.bands[0].color_interpretation == "red" else {}
    return _plain_tiff(
        path,
        shape,
        count=len(plan.bands),
        dtype=plan.bands[0].dtype,
        nodata=plan.nodata,
        **place,
        **colors,
    )


def _plain_tiff(
    path: Path, shape: GridShape, *, count: int, dtype: str, nodata: float | None, **more: Any
) -> DatasetWriter:
    """Compressed as lightly as pays: it is read once or twice and removed."""
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
        num_threads="ALL_CPUS",
        **more,
    )


def _placed_by_points(dataset: DatasetReader) -> bool:
    """No geotransform but ground control points."""
    return bool(dataset.gcps[0]) and dataset.transform == Affine.identity()


def _resampling(plan: CogPlan) -> GdalResampling:
    return GdalResampling[(plan.reproject_resampling or plan.overview_resampling).value]


def _gdal_crs(wkt: str) -> GdalCrs:
    return GdalCrs.from_wkt(wkt)


def _gdal_name(color: str) -> str:
    return next((name for name in ColorInterp.__members__ if name.lower() == color), "undefined")
