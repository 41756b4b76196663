"""The STAC item of a raster: what the COGs are, where on Earth, made how.

What belongs here: CogStored to STAC 1.1 JSON, pure. What stays out: publishing it.
"""

import math
from typing import Any

from pyproj import CRS

from geo_platform.catalog import provenance as origin
from geo_platform.catalog.acquired import acquired
from geo_platform.catalog.extent import bounding_box, footprint
from geo_platform.contracts.raster import CogFile, CogStored, OutputTier, RasterBand
from geo_platform.options import ItemOptions

MAIN_ASSET = "data"
COG_MEDIA_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
_TIER_ROLES = {
    OutputTier.analysis: [],
    OutputTier.visualization: ["visual"],
    OutputTier.archive: ["archive"],
}
_EXTENSIONS = [
    origin.FILE_EXTENSION,
    origin.PROCESSING_EXTENSION,
    origin.PROJECTION_EXTENSION,
    origin.RASTER_EXTENSION,
    origin.VERSION_EXTENSION,
]
_STAC_COMPLEX_TYPES = {
    "complex_int16": "cint16",
    "complex_int32": "cint32",
    "complex64": "cfloat32",
    "complex128": "cfloat64",
}
_STAC_TYPES = {
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
}


def build_raster_item(
    stored: CogStored, options: ItemOptions, provenance: origin.Provenance
) -> dict[str, Any]:
    """STAC 1.1 with the projection, raster, file, processing and version extensions.

    The first COG is the asset `data`, further ones are named like their tier. Geometry is the footprint of valid data.
    Raises CatalogRejected where the footprint is no geometry on longitudes and latitudes.
    """
    source, main = stored.source, stored.cogs[0]
    names = [
        source.key.rpartition("/")[2],
        *([source.archive_member.path] if source.archive_member else []),
    ]
    when = acquired(
        options.acquired_at,
        (stored.acquired_at, stored.acquired_from),
        names,
        last_modified_utc=source.last_modified_utc,
    )
    item = origin.item_skeleton(source, options, provenance, when)
    item["stac_extensions"] = list(_EXTENSIONS)
    item["geometry"] = footprint(stored.footprint_geojson)
    item["bbox"] = bounding_box(item["geometry"], main.lonlat_bounds)
    item["properties"] |= {
        **_placement(main),
        "processing:lineage": _lineage(stored),
        "geo_platform:raster_type": stored.raster_type.value,
        "geo_platform:crs_source": main.crs.came_from,
        "geo_platform:warnings": origin.findings(stored.warnings),
        "geo_platform:refused_tiers": origin.findings(stored.refused_tiers),
        "geo_platform:bit_depth": [finding.model_dump(mode="json") for finding in stored.bit_depth],
    }
    item["assets"] = _assets(stored)
    return item


def _assets(stored: CogStored) -> dict[str, Any]:
    main, *others = stored.cogs
    assets = {MAIN_ASSET: _cog_asset(main, ["data", *_TIER_ROLES[main.tier]])}
    for cog in others:
        own = _placement(cog)
        differing = own if own != _placement(main) else {}
        assets[cog.tier.value] = _cog_asset(cog, _TIER_ROLES[cog.tier] or ["data"]) | differing
    assets["thumbnail"] = origin.stored_asset(
        stored.thumbnail, stored.thumbnail_media_type, ["thumbnail"], title="Thumbnail"
    )
    assets["preview"] = origin.stored_asset(
        stored.preview, stored.preview_media_type, ["overview"], title="Web preview"
    )
    return assets


def _cog_asset(cog: CogFile, roles: list[str]) -> dict[str, Any]:
    title = f"Cloud Optimized GeoTIFF, {cog.tier.value}"
    return origin.stored_asset(
        cog.stored, COG_MEDIA_TYPE, roles, title=title, sha256=cog.sha256
    ) | {
        "bands": [_band(band, cog) for band in cog.bands],
        "geo_platform:tier": cog.tier.value,
        "geo_platform:compression": cog.compression,
        "geo_platform:predictor": cog.predictor,
        "geo_platform:blocksize_px": cog.blocksize_px,
        "geo_platform:overview_factors": list(cog.overview_factors),
        "geo_platform:overview_resampling": cog.overview_resampling,
        "geo_platform:reproject_resampling": cog.reproject_resampling,
        "geo_platform:reasons": list(cog.reasons),
        "geo_platform:verification": cog.verification.model_dump(mode="json"),
    }


def _band(band: RasterBand, cog: CogFile) -> dict[str, Any]:
    """Common metadata of STAC 1.1 and raster:* of raster 2.0.0; statistics are of a sample over the whole extent."""
    described: dict[str, Any] = {"name": f"b{band.index}", "data_type": _data_type(band.dtype)}
    text = band.description or (
        band.color_interpretation if band.color_interpretation != "undefined" else None
    )
    if text:
        described["description"] = text
    if band.nodata_is_nan:
        described["nodata"] = "nan"
    elif band.nodata is not None:
        described["nodata"] = _number(band.nodata, is_integer="int" in band.dtype)
    if band.unit:
        described["unit"] = band.unit
    if band.statistics is not None:
        figures = {
            "minimum": band.statistics.minimum,
            "maximum": band.statistics.maximum,
            "mean": band.statistics.mean,
            "stddev": band.statistics.standard_deviation,
            "valid_percent": min(100.0, max(0.0, band.statistics.valid_percent)),
        }
        described["statistics"] = {
            name: value for name, value in figures.items() if math.isfinite(value)
        }
    described["raster:scale"] = band.scale
    described["raster:offset"] = band.offset
    resolution = _resolution_m(cog)
    if resolution is not None:
        described["raster:spatial_resolution"] = resolution
    return described


def _placement(cog: CogFile) -> dict[str, Any]:
    """projection extension: shape is (rows, cols), transform the first two rows of the affine matrix."""
    return {
        **origin.projection(cog.crs.authority_code, cog.crs.wkt),
        "proj:shape": [cog.shape.rows, cog.shape.cols],
        "proj:transform": list(cog.transform),
        "proj:bbox": list(cog.bounds.xyxy),
    }


def _resolution_m(cog: CogFile) -> float | None:
    """Side of a pixel in metres, the mean of both; None for degrees, where it depends on the latitude."""
    crs = CRS.from_user_input(cog.crs.wkt)
    if not crs.is_projected:
        return None
    a, b, _, d, e, _ = cog.transform
    metres = crs.axis_info[0].unit_conversion_factor
    return round((math.hypot(a, d) + math.hypot(b, e)) / 2 * metres, 6)


def _data_type(dtype: str) -> str:
    return dtype if dtype in _STAC_TYPES else _STAC_COMPLEX_TYPES.get(dtype, "other")


def _number(value: float, *, is_integer: bool) -> float | int | str:
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return int(value) if is_integer and value.is_integer() else value


def _lineage(stored: CogStored) -> str:
    main = stored.cogs[0]
    crs = main.crs.authority_code or "its CRS"
    moved = f", reprojected to {crs} ({main.reproject_resampling})" if main.was_reprojected else ""
    kept = (
        "sampled pixels equal the source's"
        if main.verification.compared_exactly
        else "sampled pixels compared with the source"
    )
    return (
        f"Converted from {stored.source.format.value} {stored.source.container}/{stored.source.key} to Cloud Optimized GeoTIFF"
        f"{moved}, compression {main.compression}; opened again and verified: {kept}."
    )
