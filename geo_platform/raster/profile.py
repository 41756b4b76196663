"""RasterProfiled: what a source is, from its headers and a sample. A source of 400 MB costs a few MB of reading.

What belongs here: putting the parts together. What stays out: each part's rule (`crs`, `georeference`, `nodata`,
`sample`, `detection`, `bitdepth`), and deciding what to make of it (`plan.py`).
"""

import math
from pathlib import Path

import numpy as np
from affine import Affine
from pyproj import CRS
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader

from geo_platform import fingerprint
from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.raster import RasterBand, RasterProfiled
from geo_platform.errors import RasterEmpty
from geo_platform.grid import GridShape
from geo_platform.ports import ObjectStore
from geo_platform.raster.acquired import acquired
from geo_platform.raster.bitdepth import find_bit_depth, refuse_64_bit
from geo_platform.raster.crs import source_crs
from geo_platform.raster.detection import decide_type
from geo_platform.raster.environment import memory_estimate
from geo_platform.raster.fetched import plan_fetched_sample
from geo_platform.raster.findings import profile_findings
from geo_platform.raster.georeference import check_plausible, corner_bounds, pixel_size, read_georeference
from geo_platform.raster.lonlat import lonlat_bounds
from geo_platform.raster.nodata import NodataDecision, decide_nodata
from geo_platform.raster.open import open_raster
from geo_platform.raster.options import RasterProfileOptions
from geo_platform.raster.sample import BandSample, read_sample, search_valid, spread_windows, statistics
from geo_platform.source.arrival import opened
from geo_platform.source.openable import OpenableSource


def profile_object(arrived: ObjectArrived, options: RasterProfileOptions, objects: ObjectStore, *, scratch: Path) -> RasterProfiled:
    """Profile the object that arrived, if it is still the one that arrived. Raises what `opened` and `profile_raster` raise."""
    with opened(objects, arrived, scratch=scratch, by_ranges=True) as source:
        return profile_raster(source, arrived, options)


def profile_raster(source: OpenableSource, arrived: ObjectArrived, options: RasterProfileOptions) -> RasterProfiled:
    """Read headers and a sample; refuse what cannot become a COG with a place on Earth.

    Raises SourceUnreadable, SourceTruncated, UnsupportedFormat, CrsMissing, CrsMismatch, GeotransformMissing,
    BoundsImplausible, NodataConflict, RasterEmpty, Raster64BitRejected, RasterTypeMismatch, ParameterInvalid.
    """
    with open_raster(source) as dataset:
        return _profiled(dataset, arrived, options, source)


def _profiled(dataset: DatasetReader, arrived: ObjectArrived, options: RasterProfileOptions, source: OpenableSource) -> RasterProfiled:
    display_name = source.display_name
    shape = GridShape(rows=dataset.height, cols=dataset.width)
    georeference = read_georeference(dataset, display_name)
    crs, crs_findings = source_crs(dataset, options, display_name)
    transform, system = Affine(*georeference.transform), CRS.from_wkt(crs.wkt)
    bounds, resolution = corner_bounds(transform, shape), pixel_size(transform)
    lonlat = check_plausible(bounds, resolution, system, lonlat_bounds(transform, shape, system), display_name)
    nodata = decide_nodata(dataset.nodatavals, dataset.dtypes, options.nodata, display_name)
    samples = _sampled(dataset, shape, nodata, source)
    bands = tuple(_band(dataset, index, nodata, sample) for index, sample in zip(dataset.indexes, samples, strict=True))
    if options.strict_mode:
        refuse_64_bit(bands, display_name)
    detected = decide_type(bands, options.raster_type, strict=options.strict_mode, display_name=display_name)
    found = (find_bit_depth(band, sample, shape) for band, sample in zip(bands, samples, strict=True))
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
        fingerprint=fingerprint.extend(arrived.fingerprint, "raster_profile", options.model_dump(mode="json")),
    )


def bytes_per_pixel(dataset: DatasetReader) -> int:
    """All bands together, uncompressed."""
    return sum(int(np.dtype(dtype).itemsize) for dtype in dataset.dtypes)


def block_shape(dataset: DatasetReader) -> GridShape:
    """How the first band is cut; GDAL's order is (rows, cols)."""
    rows, cols = dataset.block_shapes[0]
    return GridShape(rows=int(rows), cols=int(cols))


def _sampled(dataset: DatasetReader, shape: GridShape, nodata: NodataDecision, source: OpenableSource) -> tuple[BandSample, ...]:
    """The sample; where nothing in it is valid, every block is looked at before the raster is called empty."""
    block, width = block_shape(dataset), bytes_per_pixel(dataset)
    if source.ranged:
        samples = _fetched(dataset, shape, nodata, source)
    else:
        samples = read_sample(dataset, spread_windows(shape, block, width), nodata.values)
    if any(sample.values.size for sample in samples):
        return samples
    windows = search_valid(dataset, shape, block, nodata.values)
    if not windows:
        raise RasterEmpty(f"{source.display_name!r} has no valid pixel: all of it is nodata or masked.")
    return read_sample(dataset, windows, nodata.values)


def _fetched(dataset: DatasetReader, shape: GridShape, nodata: NodataDecision, source: OpenableSource) -> tuple[BandSample, ...]:
    plan = plan_fetched_sample(dataset, shape, block_shape(dataset), bytes_per_pixel(dataset))
    if not plan.in_part:
        return read_sample(dataset, plan.windows, nodata.values)
    with open_raster(source, in_part=True) as rows_alone:
        return read_sample(rows_alone, plan.windows, nodata.values)


def _band(dataset: DatasetReader, index: int, nodata: NodataDecision, sample: BandSample) -> RasterBand:
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
        mask=_mask(dataset.mask_flag_enums[index - 1], has_nodata=value is not None, is_alpha=color == "alpha"),
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
