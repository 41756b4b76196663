"""Profile a raster: describe it from its headers and a sample of its pixels.

Usually only a few MB of a source of 400 MB are read. If no sampled pixel is valid, all blocks are
read until a valid pixel is found. `plan.py` plans COGs from the profile.

Called by `chains/raster.py` and `code_location.py`.
"""

import math
import os
from pathlib import Path

import numpy as np
from affine import Affine
from pyproj import CRS
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader

from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.message import Finding
from geo_platform.contracts.raster import GeoreferenceNote, RasterBand, RasterProfiled
from geo_platform.errors import RasterEmpty, SourceUnreadable
from geo_platform.fingerprint import Recipe
from geo_platform.grid import GridShape
from geo_platform.ports import ObjectStore
from geo_platform.raster.detection import decide_type, find_bit_depth, refuse_64_bit
from geo_platform.raster.georeference import (
    check_plausible,
    corner_bounds,
    pixel_size,
    positions_bounds,
    read_georeference,
    source_crs,
)
from geo_platform.raster.lonlat import lonlat_bounds
from geo_platform.raster.metadata import (
    acquisition_time,
    color_table,
    contradicts_gml,
    has_band_tags,
    other_domains,
)
from geo_platform.raster.open import BLOCK_CACHE_BYTES, open_raster
from geo_platform.raster.options import RasterProfileOptions
from geo_platform.raster.plan import COG_BLOCKSIZE_PX
from geo_platform.raster.sample import (
    BandSample,
    find_valid_windows,
    plan_fetched_sample,
    read_sample,
    spread_windows,
    statistics,
)
from geo_platform.raster.validity import (
    NodataDecision,
    Validity,
    decide_nodata,
    has_masks_by_band,
    nodata_values,
    transparent_color,
    validity_of,
)
from geo_platform.source.arrival import open_source
from geo_platform.source.openable import OpenableSource

# Resident memory of the process before it opens a file: interpreter, NumPy, GDAL, PROJ.
LIBRARIES_BYTES = 220 * 1024**2

# The nodata value of a file whose header gives none, by GDAL's driver. Source: Esri, "Esri ASCII
# raster format" (NODATA_VALUE is optional, and the default is -9999).
DEFAULT_NODATA = {"AAIGrid": -9999.0}


def profile_object(
    arrived: ObjectArrived,
    options: RasterProfileOptions,
    objects: ObjectStore,
    *,
    recipe: Recipe,
    scratch: Path,
) -> RasterProfiled:
    """Profile the object that arrived.

    Raises Conflict: if the object or a sidecar was replaced or deleted since it arrived.
    Raises StoreUnavailable, StoreDenied: if the store does not answer or refuses access.
    Raises also the errors listed in `profile_raster`.
    """
    with open_source(objects, arrived, scratch=scratch, by_ranges=True) as source:
        return profile_raster(source, arrived, options, recipe=recipe)


def profile_raster(
    source: OpenableSource,
    arrived: ObjectArrived,
    options: RasterProfileOptions,
    *,
    recipe: Recipe,
) -> RasterProfiled:
    """Profile an open source; refuse a raster that cannot become a georeferenced COG.

    Raises SourceUnreadable, SourceTruncated, UnsupportedFormat: if the file cannot be read, or a
    scale or offset is not finite.
    Raises CrsMissing: if neither the file nor the request gives a CRS.
    Raises CrsMismatch: if the file and the request give different ones, without override_crs.
    Raises GeotransformMissing: if nothing maps pixels to coordinates.
    Raises BoundsImplausible: if the coordinates make no sense in the CRS.
    Raises NodataConflict: if the bands, or the file and the request, have different nodata values.
    Raises RasterEmpty: if no pixel is valid.
    Raises RasterTypeMismatch: if the bands cannot be of the requested raster type, or if
    strict_mode is on and the detected type differs.
    Raises Raster64BitRejected: if strict_mode is on and a band has 64 bits.
    Raises ParameterInvalid: if input_crs is not a usable CRS.
    """
    with open_raster(source) as dataset:
        return _profiled(dataset, arrived, options, source, recipe)


def _profiled(
    dataset: DatasetReader,
    arrived: ObjectArrived,
    options: RasterProfileOptions,
    source: OpenableSource,
    recipe: Recipe,
) -> RasterProfiled:
    display_name = source.display_name
    shape = GridShape(rows=dataset.height, cols=dataset.width)
    georeference = read_georeference(dataset, display_name)
    crs, crs_findings = source_crs(dataset, source, options)
    transform, parsed_crs = Affine(*georeference.transform), CRS.from_wkt(crs.wkt)
    positions = georeference.positions
    bounds = positions_bounds(positions) if positions else corner_bounds(transform, shape)
    resolution = pixel_size(transform)
    lonlat = check_plausible(
        bounds,
        resolution,
        parsed_crs,
        lonlat_bounds(transform, shape, parsed_crs, positions),
        display_name,
    )
    _refuse_senseless_scale(dataset, display_name)
    nodata = decide_nodata(
        nodata_values(dataset),
        dataset.dtypes,
        options.nodata,
        display_name,
        assumed=DEFAULT_NODATA.get(dataset.driver),
        has_color=transparent_color(dataset) is not None,
    )
    validity = validity_of(dataset, nodata.values)
    samples = _sample_bands(dataset, shape, nodata, validity, source)
    bands = tuple(
        _band(dataset, index, nodata, validity, sample)
        for index, sample in zip(dataset.indexes, samples, strict=True)
    )
    if options.strict_mode:
        refuse_64_bit(bands, display_name)
    detected = decide_type(
        bands, options.raster_type, strict=options.strict_mode, display_name=display_name
    )
    bit_depths = (
        find_bit_depth(band, sample, shape) for band, sample in zip(bands, samples, strict=True)
    )
    acquired_at, acquired_from = acquisition_time(dataset)
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
        bit_depth=tuple(finding for finding in bit_depths if finding is not None),
        uncompressed_bytes=shape.pixels * bytes_per_pixel(dataset),
        memory_estimate_bytes=memory_estimate(shape, block, bytes_per_pixel(dataset)),
        acquired_at=acquired_at,
        acquired_from=acquired_from,
        warnings=crs_findings + nodata.warnings + profile_findings(dataset, georeference, bands),
        fingerprint=recipe.extend(arrived.fingerprint, options.model_dump(mode="json")),
    )


def bytes_per_pixel(dataset: DatasetReader) -> int:
    """Return the size of one pixel of all bands, uncompressed."""
    return sum(int(np.dtype(dtype).itemsize) for dtype in dataset.dtypes)


def block_shape(dataset: DatasetReader) -> GridShape:
    """Return the size of the first band's blocks (tiles or strips)."""
    rows, cols = dataset.block_shapes[0]  # GDAL's order
    return GridShape(rows=int(rows), cols=int(cols))


def memory_estimate(shape: GridShape, block: GridShape, bytes_per_pixel: int) -> int:
    """Return the estimated peak memory of a conversion in bytes: docs/raster.md, "Memory".

    The peak is the sum of the libraries, the block cache (at most the size of the raster), four
    COG tiles per thread, and two rows of source blocks.
    """
    threads = os.cpu_count() or 1
    cache = min(BLOCK_CACHE_BYTES, shape.pixels * bytes_per_pixel)
    tiles = threads * 4 * COG_BLOCKSIZE_PX**2 * bytes_per_pixel
    rows = 2 * min(block.rows, shape.rows) * shape.cols * bytes_per_pixel
    return LIBRARIES_BYTES + cache + tiles + rows


def _sample_bands(
    dataset: DatasetReader,
    shape: GridShape,
    nodata: NodataDecision,
    validity: Validity,
    source: OpenableSource,
) -> tuple[BandSample, ...]:
    """Sample the raster; if no sampled pixel is valid, search all blocks for valid ones.

    Raises RasterEmpty: if no pixel of the raster is valid.
    """
    block, pixel_bytes = block_shape(dataset), bytes_per_pixel(dataset)
    samples = (
        _read_fetched_sample(dataset, shape, nodata, source)
        if source.ranged
        else read_sample(dataset, spread_windows(shape, block, pixel_bytes), nodata.values)
    )
    if any(samples[band - 1].values.size for band in validity.data_bands):
        return samples
    windows = find_valid_windows(dataset, shape, block, nodata.values)
    if not windows:
        raise RasterEmpty(
            f"{source.display_name!r} has no valid pixel: all of it is nodata or masked."
        )
    return read_sample(dataset, windows, nodata.values)


def _read_fetched_sample(
    dataset: DatasetReader, shape: GridShape, nodata: NodataDecision, source: OpenableSource
) -> tuple[BandSample, ...]:
    plan = plan_fetched_sample(dataset, shape, block_shape(dataset), bytes_per_pixel(dataset))
    if not plan.partial_tiles:
        return read_sample(dataset, plan.windows, nodata.values)
    with open_raster(source, partial_tiles=True) as partial:
        return read_sample(partial, plan.windows, nodata.values)


def _band(
    dataset: DatasetReader,
    index: int,
    nodata: NodataDecision,
    validity: Validity,
    sample: BandSample,
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
        has_color_table=color == "palette" and bool(color_table(dataset, index)),
        scale=float(dataset.scales[index - 1]),
        offset=float(dataset.offsets[index - 1]),
        unit=dataset.units[index - 1] or None,
        description=dataset.descriptions[index - 1] or None,
        mask=_mask_kind(dataset.mask_flag_enums[index - 1], index, validity),
        statistics=statistics(sample),
    )


def _refuse_senseless_scale(dataset: DatasetReader, display_name: str) -> None:
    for index, scale, offset in zip(dataset.indexes, dataset.scales, dataset.offsets, strict=True):
        if not (math.isfinite(scale) and math.isfinite(offset)):
            raise SourceUnreadable(
                f"Band {index} of {display_name!r} has the scale {scale:g} and the offset "
                f"{offset:g}; both must be finite numbers.",
                remedy="Set both with gdal_edit.py -scale 1 -offset 0, or to the true numbers.",
            )


def _mask_kind(flags: list[MaskFlags], band: int, validity: Validity) -> str:
    """Return the kind of mask, as in the field `mask` of RasterBand."""
    if band == validity.alpha:
        return "all_valid"
    if band in validity.masked:
        return "per_dataset" if MaskFlags.per_dataset in flags else "per_band"
    if validity.alpha is not None:
        return "alpha"
    if band in validity.transparent:
        return "palette"
    if validity.nodata_is_color:
        return "color"
    return "nodata" if validity.nodata[band - 1] else "all_valid"


def profile_findings(
    dataset: DatasetReader, georeference: GeoreferenceNote, bands: tuple[RasterBand, ...]
) -> tuple[Finding, ...]:
    """Return warnings about properties that do not prevent a conversion: docs/raster.md."""
    return tuple(
        Finding(code=code, message=message)
        for code, applies, message in (
            (
                "ROTATED",
                georeference.is_rotated,
                "The grid is rotated or sheared. It is kept unless target_crs is given.",
            ),
            (
                "SOUTH_UP",
                georeference.is_south_up and not georeference.is_rotated,
                "The first row is the southernmost. This order is kept.",
            ),
            (
                "PLACE_CONTRADICTED",
                contradicts_gml(dataset),
                "The file says twice where it is: with the north up, which is used, and in its GML "
                "with the south up. If the image is upside down, correct the file.",
            ),
            (
                "PLACED_BY_POINTS",
                georeference.placed_by_ground_control_points,
                f"Only {georeference.ground_control_points} ground control points place the "
                "raster; conversion warps it to a regular grid.",
            ),
            (
                "RPCS_NOT_USED",
                georeference.has_rpcs,
                "The file has rational polynomial coefficients, which are not used.",
            ),
            (
                "MIXED_DTYPES",
                len({band.dtype for band in bands}) > 1,
                "The bands have different data types. The COG uses the widest for all bands.",
            ),
            (
                "MIN_IS_WHITE",
                dataset.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES",
                "0 means white in this file. The values are kept, so a viewer that takes 0 for "
                "black shows a negative.",
            ),
            (
                "MASKS_JOINED",
                has_masks_by_band(dataset),
                "Each band has a mask of its own, and a COG has one for all bands: a pixel is "
                "missing where every band masks it. Where only some do, their stored values count.",
            ),
            (
                "SUBDATASETS",
                bool(dataset.subdatasets),
                f"The file holds {len(dataset.subdatasets)} images; the first is used.",
            ),
            (
                "DIGITS_LOST",
                dataset.driver == "AAIGrid" and any(_exceeds_exact_floats(band) for band in bands),
                "The grid holds numbers beyond 2**53. They are read as 64-bit floats, which hold "
                "16 digits.",
            ),
            (
                "COLOR_TABLE_MISSING",
                any(_lacks_color_table(band) for band in bands),
                "A band is marked as palette but has no colour table; the COG has it as gray.",
            ),
            (
                "PALETTE_ALPHA_LEFT",
                any(
                    0 < alpha < 255
                    for band in bands
                    if band.has_color_table
                    for *_, alpha in color_table(dataset, band.index).values()
                ),
                "Entries of the colour table that are partly transparent become opaque, because a "
                "TIFF has no such entries.",
            ),
            (
                "COLOR_TABLE_LEFT",
                len(bands) > 1 and any(band.has_color_table for band in bands),
                "The colour table is not copied, because a TIFF holds one for a single band only.",
            ),
            (
                "TAG_DOMAINS_LEFT",
                has_band_tags(dataset) and bool(other_domains(dataset)),
                f"The tags of {len(other_domains(dataset))} metadata domains are not copied, "
                "because bands have tags too and GDAL can keep only one of the two.",
            ),
            (
                "EMPTY_BANDS",
                any(band.statistics is None for band in bands),
                f"No valid pixel was sampled in {_empty_bands(bands)}.",
            ),
        )
        if applies
    )


def _exceeds_exact_floats(band: RasterBand) -> bool:
    figures = band.statistics
    return (
        band.dtype == "float64"
        and figures is not None
        and max(-figures.minimum, figures.maximum) >= 2**53
    )


def _lacks_color_table(band: RasterBand) -> bool:
    return band.color_interpretation == "palette" and not band.has_color_table


def _empty_bands(bands: tuple[RasterBand, ...]) -> str:
    return "bands " + ", ".join(str(band.index) for band in bands if band.statistics is None)
