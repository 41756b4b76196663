"""RasterProfiled: what a source is, from its headers and a sample. A source of 400 MB costs a few MB of reading.

What belongs here: putting the parts together. What stays out: each part's rule (`crs`, `georeference`, `nodata`,
`sample`, `detection`, `bitdepth`), and deciding what to make of it (`plan.py`).

What a profile says beside its figures: findings that refuse nothing.

What belongs here: the list of docs/raster.md, "Findings". What stays out: refusals.

The sample of a source that is fetched while it is read: a bound on stored bytes beside the one on decoded ones.

What belongs here: choosing windows by what their blocks weigh in the file. What stays out: spreading and reading them
(`sample.py`), and fetching (`ranged.py`).
"""

import math
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from affine import Affine
from pyproj import CRS
from rasterio.enums import Interleaving, MaskFlags
from rasterio.errors import RasterBlockError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from geo_platform import fingerprint
from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.message import Finding
from geo_platform.contracts.raster import GeoreferenceNote, RasterBand, RasterProfiled
from geo_platform.errors import RasterEmpty
from geo_platform.grid import GridShape
from geo_platform.ports import ObjectStore
from geo_platform.raster.detection import decide_type, find_bit_depth, refuse_64_bit
from geo_platform.raster.gdal_environment import memory_estimate
from geo_platform.raster.georeference import (
    check_plausible,
    corner_bounds,
    pixel_size,
    read_georeference,
    source_crs,
)
from geo_platform.raster.lonlat import lonlat_bounds
from geo_platform.raster.metadata import acquired, has_band_tags, other_domains
from geo_platform.raster.nodata import NodataDecision, decide_nodata
from geo_platform.raster.open import open_raster
from geo_platform.raster.options import RasterProfileOptions
from geo_platform.raster.sample import (
    MINIMUM_WINDOWS,
    BandSample,
    read_sample,
    search_valid,
    spread_windows,
    statistics,
)
from geo_platform.source.arrival import opened
from geo_platform.source.openable import OpenableSource

# With headers and directories, a profile costs less than 8 MB.
FETCHED_BYTES = 7 * 1024**2


@dataclass(frozen=True)
class FetchedSample:
    """Windows of a source that is fetched while it is read; `in_part` where GDAL is to read rows of a block and not the block."""

    windows: tuple[Window, ...]
    in_part: bool


def plan_fetched_sample(
    dataset: DatasetReader, shape: GridShape, block: GridShape, bytes_per_pixel: int
) -> FetchedSample:
    """As `spread_windows`, with a bound on stored bytes: a window costs its whole blocks, however little of them is looked at.

    Where they are too large, uncompressed tiles are sampled in slices of rows; of others there are fewer, down to one.
    """
    windows = spread_windows(shape, block, bytes_per_pixel, FETCHED_BYTES)
    if sum(stored_bytes(dataset, window, block) for window in windows) <= FETCHED_BYTES:
        return FetchedSample(windows, in_part=False)
    if dataset.compression is None and block.cols < shape.cols:
        rows = max(FETCHED_BYTES // (len(windows) * block.cols * bytes_per_pixel), 1)
        # GDAL 3.10 reads through a gap that is smaller than a tile; from the last tile to the first there is none ahead.
        return FetchedSample(
            tuple(_slice(window, shape, block, rows) for window in reversed(windows)), in_part=True
        )
    for at_least in range(MINIMUM_WINDOWS - 1, 0, -1):
        windows = spread_windows(shape, block, bytes_per_pixel, FETCHED_BYTES, at_least=at_least)
        if sum(stored_bytes(dataset, window, block) for window in windows) <= FETCHED_BYTES:
            break
    return FetchedSample(windows, in_part=False)


def stored_bytes(dataset: DatasetReader, window: Window, block: GridShape) -> int:
    """What the blocks under a window take in the file, all bands; a block that the file leaves out takes nothing."""
    bands = (1,) if dataset.interleaving is Interleaving.pixel else dataset.indexes
    rows = range(
        window.row_off // block.rows, (window.row_off + window.height - 1) // block.rows + 1
    )
    cols = range(
        window.col_off // block.cols, (window.col_off + window.width - 1) // block.cols + 1
    )
    total = 0
    for band, row, col in product(bands, rows, cols):
        with suppress(RasterBlockError):
            total += dataset.block_size(band, row, col)
    return total


def _slice(window: Window, shape: GridShape, block: GridShape, rows: int) -> Window:
    """The middle rows of the block that a window lies in, over the block's whole width."""
    row, col = window.row_off // block.rows * block.rows, window.col_off // block.cols * block.cols
    height, width = min(block.rows, shape.rows - row), min(block.cols, shape.cols - col)
    rows = min(rows, height)
    return Window(col, row + (height - rows) // 2, width, rows)


def profile_findings(
    dataset: DatasetReader, georeference: GeoreferenceNote, bands: tuple[RasterBand, ...]
) -> tuple[Finding, ...]:
    """In the order that a person would ask: place, bands, what is left behind."""
    return tuple(
        Finding(code=code, message=message)
        for code, is_so, message in (
            (
                "ROTATED",
                georeference.is_rotated,
                "The grid is rotated or sheared; it is kept so unless target_crs is given.",
            ),
            (
                "SOUTH_UP",
                georeference.is_south_up and not georeference.is_rotated,
                "The first row is the southernmost; it is kept so.",
            ),
            (
                "PLACED_BY_POINTS",
                georeference.placed_by_ground_control_points,
                f"Placed by {georeference.ground_control_points} ground control points alone; converting warps it to a regular grid.",
            ),
            (
                "RPCS_NOT_USED",
                georeference.has_rpcs,
                "Rational polynomial coefficients are present and not used.",
            ),
            (
                "MIXED_DTYPES",
                len({band.dtype for band in bands}) > 1,
                "Bands differ in data type; the COG has the widest for all.",
            ),
            (
                "MIN_IS_WHITE",
                dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES",
                "0 means white in this file; the values are kept, and whoever takes 0 for black sees a negative.",
            ),
            (
                "SUBDATASETS",
                bool(dataset.subdatasets),
                f"{len(dataset.subdatasets)} images in one file; the first is used.",
            ),
            (
                "TAG_DOMAINS_LEFT",
                has_band_tags(dataset) and bool(other_domains(dataset)),
                f"Tags of {len(other_domains(dataset))} metadata domains are left behind, where bands have tags of their own.",
            ),
            (
                "EMPTY_BANDS",
                any(band.statistics is None for band in bands),
                f"No valid pixel was sampled in {_empty(bands)}.",
            ),
        )
        if is_so
    )


def _empty(bands: tuple[RasterBand, ...]) -> str:
    return "bands " + ", ".join(str(band.index) for band in bands if band.statistics is None)


def profile_object(
    arrived: ObjectArrived, options: RasterProfileOptions, objects: ObjectStore, *, scratch: Path
) -> RasterProfiled:
    """Profile the object that arrived, if it is still the one that arrived. Raises what `opened` and `profile_raster` raise."""
    with opened(objects, arrived, scratch=scratch, by_ranges=True) as source:
        return profile_raster(source, arrived, options)


def profile_raster(
    source: OpenableSource, arrived: ObjectArrived, options: RasterProfileOptions
) -> RasterProfiled:
    """Read headers and a sample; refuse what cannot become a COG with a place on Earth.

    Raises SourceUnreadable, SourceTruncated, UnsupportedFormat, CrsMissing, CrsMismatch, GeotransformMissing,
    BoundsImplausible, NodataConflict, RasterEmpty, Raster64BitRejected, RasterTypeMismatch, ParameterInvalid.
    """
    with open_raster(source) as dataset:
        return _profiled(dataset, arrived, options, source)


def _profiled(
    dataset: DatasetReader,
    arrived: ObjectArrived,
    options: RasterProfileOptions,
    source: OpenableSource,
) -> RasterProfiled:
    display_name = source.display_name
    shape = GridShape(rows=dataset.height, cols=dataset.width)
    georeference = read_georeference(dataset, display_name)
    crs, crs_findings = source_crs(dataset, options, display_name)
    transform, system = Affine(*georeference.transform), CRS.from_wkt(crs.wkt)
    bounds, resolution = corner_bounds(transform, shape), pixel_size(transform)
    lonlat = check_plausible(
        bounds, resolution, system, lonlat_bounds(transform, shape, system), display_name
    )
    nodata = decide_nodata(dataset.nodatavals, dataset.dtypes, options.nodata, display_name)
    samples = _sampled(dataset, shape, nodata, source)
    bands = tuple(
        _band(dataset, index, nodata, sample)
        for index, sample in zip(dataset.indexes, samples, strict=True)
    )
    if options.strict_mode:
        refuse_64_bit(bands, display_name)
    detected = decide_type(
        bands, options.raster_type, strict=options.strict_mode, display_name=display_name
    )
    found = (
        find_bit_depth(band, sample, shape) for band, sample in zip(bands, samples, strict=True)
    )
    acquired_at, acquired_from = acquired(dataset)
    block = block_shape(dataset)
    return RasterProfiled(
        source=arrived,
        driver=dataset.driver,
        shape=shape,
        bands=bands,
        crs=crs,
        georeference=georeference,
        resolution=resolution,
        bounds=bounds,
        lonlat_bounds=lonlat,
        block_shape=block,
        source_compression=dataset.compression.value.upper() if dataset.compression else None,
        overview_factors=tuple(dataset.overviews(1)),
        is_cog=dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG",
        raster_type=detected.raster_type,
        raster_type_confidence=detected.confidence,
        raster_type_reason=detected.reason,
        bit_depth=tuple(finding for finding in found if finding is not None),
        uncompressed_bytes=shape.pixels * bytes_per_pixel(dataset),
        memory_estimate_bytes=memory_estimate(shape, block, bytes_per_pixel(dataset)),
        acquired_at=acquired_at,
        acquired_from=acquired_from,
        warnings=crs_findings + nodata.warnings + profile_findings(dataset, georeference, bands),
        fingerprint=fingerprint.extend(
            arrived.fingerprint, "raster_profile", options.model_dump(mode="json")
        ),
    )


def bytes_per_pixel(dataset: DatasetReader) -> int:
    """All bands together, uncompressed."""
    return sum(int(np.dtype(dtype).itemsize) for dtype in dataset.dtypes)


def block_shape(dataset: DatasetReader) -> GridShape:
    """How the first band is cut; GDAL's order is (rows, cols)."""
    rows, cols = dataset.block_shapes[0]
    return GridShape(rows=int(rows), cols=int(cols))


def _sampled(
    dataset: DatasetReader, shape: GridShape, nodata: NodataDecision, source: OpenableSource
) -> tuple[BandSample, ...]:
    """The sample; where nothing in it is valid, every block is looked at before the raster is called empty."""
    block, width = block_shape(dataset), bytes_per_pixel(dataset)
    samples = (
        _fetched(dataset, shape, nodata, source)
        if source.ranged
        else read_sample(dataset, spread_windows(shape, block, width), nodata.values)
    )
    if any(sample.values.size for sample in samples):
        return samples
    windows = search_valid(dataset, shape, block, nodata.values)
    if not windows:
        raise RasterEmpty(
            f"{source.display_name!r} has no valid pixel: all of it is nodata or masked."
        )
    return read_sample(dataset, windows, nodata.values)


def _fetched(
    dataset: DatasetReader, shape: GridShape, nodata: NodataDecision, source: OpenableSource
) -> tuple[BandSample, ...]:
    plan = plan_fetched_sample(dataset, shape, block_shape(dataset), bytes_per_pixel(dataset))
    if not plan.in_part:
        return read_sample(dataset, plan.windows, nodata.values)
    with open_raster(source, in_part=True) as rows_alone:
        return read_sample(rows_alone, plan.windows, nodata.values)


def _band(
    dataset: DatasetReader, index: int, nodata: NodataDecision, sample: BandSample
) -> RasterBand:
    value = nodata.values[index - 1]
    is_nan = value is not None and math.isnan(value)
    color = dataset.colorinterp[index - 1].name
    return RasterBand(
        index=index,
        dtype=dataset.dtypes[index - 1],
        nodata=None if is_nan else value,
        nodata_is_nan=is_nan,
        color_interpretation=color.lower(),
        has_color_table=color == "palette",
        scale=float(dataset.scales[index - 1]),
        offset=float(dataset.offsets[index - 1]),
        unit=dataset.units[index - 1] or None,
        description=dataset.descriptions[index - 1] or None,
        mask=_mask(
            dataset.mask_flag_enums[index - 1],
            has_nodata=value is not None,
            is_alpha=color == "alpha",
        ),
        statistics=statistics(sample),
    )


def _mask(flags: list[MaskFlags], *, has_nodata: bool, is_alpha: bool) -> str:
    if is_alpha:
        return "all_valid"
    if MaskFlags.alpha in flags:
        return "alpha"
    if MaskFlags.per_dataset in flags and MaskFlags.nodata not in flags:
        return "per_dataset"
    if has_nodata:
        return "nodata"
    return "all_valid" if MaskFlags.all_valid in flags or MaskFlags.nodata in flags else "per_band"
