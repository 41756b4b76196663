"""Build the STAC item of a raster from its stored COGs.

A COG is a Cloud Optimized GeoTIFF. `item.py` builds the parts that rasters and vectors share;
`publish.py` publishes the item.

Called by `publish.py`.
"""

import math
from typing import Any

import pystac
from pyproj import CRS
from pystac.extensions.projection import ProjectionExtension

from geo_platform.catalog.acquisition_time import acquisition_time
from geo_platform.catalog.item import add_stored_asset, findings, footprint, new_item
from geo_platform.catalog.provenance import Provenance
from geo_platform.catalog.renders import (
    CLASSIFICATION_EXTENSION,
    RENDER_EXTENSION,
    classes_of,
    renders,
)
from geo_platform.catalog.validate import RASTER_EXTENSION
from geo_platform.contracts.raster import CogFile, CogStored, Drawing, OutputTier, RasterBand
from geo_platform.options import ItemOptions

MAIN_ASSET = "data"
_TIER_ROLES = {
    OutputTier.analysis: [],
    OutputTier.visualization: ["visual"],
    OutputTier.archive: ["archive"],
}
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
    stored: CogStored, options: ItemOptions, provenance: Provenance
) -> pystac.Item:
    """Return an item with the projection, raster, render, file, processing, version extensions.

    The first COG is the asset `data`; each further COG is named after its tier (visualization,
    analysis or archive). The geometry of the item is the footprint of the valid pixels.
    Raises CatalogRejected: the footprint is not a valid geometry in longitudes and latitudes.
    """
    source, main = stored.source, stored.cogs[0]
    names = [source.key.rpartition("/")[2]]
    if source.archive_member:
        names.append(source.archive_member.path)
    acquired = acquisition_time(
        options.acquired_at,
        (stored.acquired_at, stored.acquired_from),
        names,
        last_modified_utc=source.last_modified_utc,
    )
    item = new_item(
        source,
        options,
        provenance,
        acquired,
        footprint(stored.footprint_geojson),
        within=main.lonlat_bounds,
        extensions=[RASTER_EXTENSION, *_extensions(stored.drawing)],
    )
    _set_projection(ProjectionExtension.ext(item), main)
    item.properties |= {
        "processing:lineage": _lineage(stored),
        "geo_platform:raster_type": stored.raster_type.value,
        "geo_platform:crs_source": main.crs.came_from,
        "geo_platform:warnings": findings(stored.warnings),
        "geo_platform:refused_tiers": findings(stored.refused_tiers),
        "geo_platform:bit_depth": [finding.model_dump(mode="json") for finding in stored.bit_depth],
    }
    if stored.drawing is not None:
        item.properties["renders"] = renders(stored.drawing, asset=MAIN_ASSET)
    _add_assets(item, stored)
    return item


def _extensions(drawing: Drawing | None) -> list[str]:
    if drawing is None:
        return []
    return [RENDER_EXTENSION, *([CLASSIFICATION_EXTENSION] if classes_of(drawing) else [])]


def _add_assets(item: pystac.Item, stored: CogStored) -> None:
    main, *others = stored.cogs
    data = _add_cog(item, MAIN_ASSET, main, ["data", *_TIER_ROLES[main.tier]])
    if stored.drawing is not None and (classes := classes_of(stored.drawing)):
        data.extra_fields["classification:classes"] = classes
    for cog in others:
        asset = _add_cog(item, cog.tier.value, cog, _TIER_ROLES[cog.tier] or ["data"])
        if _grid_of(cog) != _grid_of(main):
            _set_projection(ProjectionExtension.ext(asset), cog)
    add_stored_asset(
        item,
        "thumbnail",
        stored.thumbnail,
        stored.thumbnail_media_type,
        ["thumbnail"],
        title="Thumbnail",
    )
    add_stored_asset(
        item,
        "preview",
        stored.preview,
        stored.preview_media_type,
        ["overview"],
        title="Web preview",
    )


def _add_cog(item: pystac.Item, name: str, cog: CogFile, roles: list[str]) -> pystac.Asset:
    title = f"Cloud Optimized GeoTIFF, {cog.tier.value}"
    asset = add_stored_asset(
        item, name, cog.stored, pystac.MediaType.COG.value, roles, title=title, sha256=cog.sha256
    )
    asset.extra_fields |= {
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
    return asset


def _band(band: RasterBand, cog: CogFile) -> dict[str, Any]:
    """Return a `bands` entry of STAC 1.1 with the fields of the raster extension 2.0.0.

    The statistics are those of a sample over the whole extent.
    """
    # Written as plain JSON, because pystac has no class for the common field `bands` of STAC 1.1.
    # Its RasterExtension writes version 1.1.0, whose `raster:bands` the field `bands` has replaced.
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


def _set_projection(projection: ProjectionExtension[Any], cog: CogFile) -> None:
    code = cog.crs.authority_code
    projection.apply(
        code=code,
        wkt2=None if code else cog.crs.wkt,
        shape=[cog.shape.rows, cog.shape.cols],
        transform=list(cog.transform),
        bbox=list(cog.bounds.xyxy),
    )


def _grid_of(cog: CogFile) -> tuple[object, ...]:
    return cog.crs.authority_code or cog.crs.wkt, cog.shape, cog.transform, cog.bounds


def _resolution_m(cog: CogFile) -> float | None:
    """Return the mean length of a pixel side in metres, or None if the CRS is not projected."""
    # For a CRS in degrees, the size in metres depends on the latitude.
    crs = CRS.from_user_input(cog.crs.wkt)
    if not crs.is_projected:
        return None
    a, b, _, d, e, _ = cog.transform
    metres = crs.axis_info[0].unit_conversion_factor
    return round((math.hypot(a, d) + math.hypot(b, e)) / 2 * metres, 6)


def _data_type(dtype: str) -> str:
    return dtype if dtype in _STAC_TYPES else _STAC_COMPLEX_TYPES.get(dtype, "other")


def _number(value: int | float, *, is_integer: bool) -> float | int | str:
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return int(value) if is_integer and value == int(value) else value


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
        f"Converted from {stored.source.format.value} {stored.source.container}/{stored.source.key}"
        f" to Cloud Optimized GeoTIFF{moved}, compression {main.compression}; "
        f"opened again and verified: {kept}."
    )
