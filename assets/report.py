"""Dagster metadata made from the messages of the stages: tables, counts, sizes, links, a picture.

Text from files goes into table cells and JSON, which Dagster's UI shows as plain text. It never
goes into Markdown, since it could be a link or an image there.

Used by `assets`.
"""

import base64
from collections import Counter
from collections.abc import Mapping
from functools import singledispatch
from typing import Any

import dagster as dg

from geo_platform.catalog.retention import Removed
from geo_platform.catalog.undo import ItemWithdrawn
from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.message import Finding, ObjectReference
from geo_platform.contracts.publication import ItemPublished, TilesKept
from geo_platform.contracts.raster import CogStored, RasterProfiled
from geo_platform.contracts.vector import FeaturesLoaded, VectorProfiled
from geo_platform.grid import LonLatBounds
from geo_platform.ports import SILVER, ObjectStore

Metadata = Mapping[str, Any]


@singledispatch
def message_metadata(message: Any, objects: ObjectStore) -> Metadata:
    """Return the metadata that Dagster's UI shows for a stage's message.

    A chain registers a function for each of its message types: `@message_metadata.register`.
    Raises TypeError: no function is registered for this type.
    """
    raise TypeError(f"no metadata is described for {type(message).__name__}")


@message_metadata.register
def _arrival_metadata(arrived: ObjectArrived, _objects: ObjectStore) -> Metadata:
    return {
        "object": dg.MetadataValue.url(arrived.uri),
        "format": arrived.format.value,
        "media_type": arrived.media_type,
        "size_bytes": arrived.size_bytes,
        "etag": arrived.etag,
        "sidecars": [sidecar.key for sidecar in arrived.sidecars],
    }


@message_metadata.register
def _raster_profile_metadata(profiled: RasterProfiled, _objects: ObjectStore) -> Metadata:
    return {
        "shape": f"{profiled.shape.rows} rows x {profiled.shape.cols} cols x "
        f"{len(profiled.bands)} bands",
        "crs": profiled.crs.authority_code or profiled.crs.wkt,
        "crs_came_from": profiled.crs.came_from,
        "raster_type": f"{profiled.raster_type.value} ({profiled.raster_type_confidence:.0%}): "
        f"{profiled.raster_type_reason}",
        "bounds_lon_lat": _lon_lat(profiled.lonlat_bounds),
        "bands": table_of(
            [
                {
                    "band": band.index,
                    "dtype": band.dtype,
                    "nodata": "nan" if band.nodata_is_nan else str(band.nodata),
                    "colour": band.color_interpretation,
                    "minimum": band.statistics.minimum if band.statistics else None,
                    "maximum": band.statistics.maximum if band.statistics else None,
                    "valid_percent": band.statistics.valid_percent if band.statistics else 0.0,
                }
                for band in profiled.bands
            ]
        ),
        "bit_depth_saving_bytes": sum(finding.saving_bytes for finding in profiled.bit_depth),
        "memory_estimate_bytes": profiled.memory_estimate_bytes,
        **_findings(profiled.warnings),
    }


@message_metadata.register
def _cogs_metadata(stored: CogStored, objects: ObjectStore) -> Metadata:
    return {
        "preview": _picture(objects, stored.preview, stored.preview_media_type),
        "cogs": table_of(
            [
                {
                    "tier": cog.tier.value,
                    "uri": cog.stored.uri,
                    "size_bytes": cog.stored.size_bytes,
                    "of_source": round(cog.verification.size_ratio, 3),
                    "compression": cog.compression,
                    "overviews": ", ".join(map(str, cog.overview_factors)),
                    "sampled_pixels": cog.verification.sampled_pixels,
                    "differing_pixels": cog.verification.differing_pixels,
                }
                for cog in stored.cogs
            ]
        ),
        "cog": dg.MetadataValue.url(stored.cogs[0].stored.uri),
        "decisions": [reason for cog in stored.cogs for reason in cog.reasons],
        "was_reused": stored.was_reused,
        **_findings((*stored.warnings, *stored.refused_tiers)),
    }


@message_metadata.register
def _vector_profile_metadata(profiled: VectorProfiled, _objects: ObjectStore) -> Metadata:
    return {
        "layer": dg.MetadataValue.text(
            ", ".join(layer.layer for layer in (profiled, *profiled.other_layers))
        ),
        "layers": table_of(
            [
                {"layer": layer.name, "geometry_type": layer.geometry_type or "none"}
                for layer in profiled.layers
            ]
        ),
        "fields": table_of(
            [
                {"field": field.name, "type": field.type.value, "source_type": field.source_type}
                for field in profiled.fields
            ]
        ),
        "geometry_types": list(profiled.geometry_types),
        "features": profiled.feature_count
        if profiled.feature_count is not None
        else "known after reading",
        "crs": profiled.crs.authority_code or profiled.crs.wkt,
        "crs_came_from": profiled.crs.came_from,
        "encoding": profiled.encoding,
        **_findings(profiled.warnings),
    }


@message_metadata.register
def _features_metadata(loaded: FeaturesLoaded, objects: ObjectStore) -> Metadata:
    layers = (loaded, *loaded.other_layers)
    totals = {
        name: sum(getattr(layer, name) for layer in layers)
        for name in ("read", "inserted", "rejected", "repaired")
    }
    reasons = Counter[str]()
    for layer in layers:
        reasons.update({found.reason: found.rows for found in layer.reject_reasons})
    return {
        "map": _picture(objects, loaded.thumbnail, loaded.thumbnail_media_type),
        "dagster/row_count": totals["inserted"],
        "rows": table_of([{"rows": name, "count": count} for name, count in totals.items()]),
        "reject_reasons": dict(reasons),
        "columns": table_of(
            [
                {"source": field.source, "published": field.published, "type": field.type.value}
                for field in loaded.fields
            ]
        ),
        "geometry_type": f"{loaded.geometry_type} ({loaded.dimension})",
        "bounds_lon_lat": _lon_lat(loaded.lonlat_bounds),
        "was_reused": loaded.was_reused,
        **_destination(loaded),
        **_findings(loaded.warnings),
    }


def _destination(loaded: FeaturesLoaded) -> Metadata:
    """Return the addresses of the datasets, separated by commas, and a table of several."""
    datasets = [dataset for layer in (loaded, *loaded.other_layers) for dataset in layer.datasets]
    addresses = [
        written.uri if (written := dataset.dataset_object or dataset.table) else dataset.dataset
        for dataset in datasets
    ]
    tables = [dataset.table for dataset in datasets if dataset.table is not None]
    metadata: dict[str, Any] = {
        "dataset": dg.MetadataValue.url(addresses[0])
        if len(addresses) == 1 and not tables
        else ", ".join(addresses)
    }
    if tables:
        names = [f"{table.schema_name}.{table.table_name}" for table in tables]
        metadata["dagster/table_name"] = ", ".join(names)
    if len(datasets) > 1:
        metadata["datasets"] = table_of(
            [
                {
                    "dataset": dataset.dataset,
                    "geometry_type": dataset.geometry_type,
                    "rows": dataset.rows,
                }
                for dataset in datasets
            ]
        )
    return metadata


@message_metadata.register
def _published_metadata(published: ItemPublished, _objects: ObjectStore) -> Metadata:
    return item_metadata(published)


@message_metadata.register
def _tiles_metadata(kept: TilesKept, _objects: ObjectStore) -> Metadata:
    return {
        "collection": kept.collection,
        "item_id": kept.item_id,
        "tiles": sum(archive.tiles for archive in kept.archives),
        "archives": table_of(
            [
                {
                    "feature_collection": archive.feature_collection,
                    "uri": archive.stored.uri,
                    "size_bytes": archive.stored.size_bytes,
                    "tiles": archive.tiles,
                }
                for archive in kept.archives
                if archive.stored is not None
            ]
        ),
    }


def item_metadata(published: ItemPublished) -> Metadata:
    """Return the metadata of a published item; of the first, and a list `items`, if of several."""
    published_items = (published, *published.other_items)
    items = [
        {
            "collection": each.collection,
            "item_id": each.item_id,
            "item": each.href,
            "published_by_run": each.run_id,
            "was_unchanged": each.was_unchanged,
            "outputs": list(each.outputs),
            "file_assets": list(each.file_assets),
        }
        for each in published_items
    ]
    return {
        "item": dg.MetadataValue.url(published.href),
        "collection": published.collection,
        "item_id": published.item_id,
        "published_at_utc": published.published_at_utc.isoformat(),
        "published_by_run": dg.MetadataValue.dagster_run(published.run_id),
        "replaced_version": published.replaced_version or "none",
        "was_unchanged": published.are_all_unchanged,
        "outputs": [output for each in published_items for output in each.outputs],
        "file_assets": list(published.file_assets),
        **({"items": items} if published.other_items else {}),
    }


def withdrawn_metadata(withdrawn: ItemWithdrawn) -> Metadata:
    """Return the metadata of an unpublished item."""
    return {
        "collection": withdrawn.collection,
        "item_id": withdrawn.item_id,
        "published_by_run": dg.MetadataValue.dagster_run(withdrawn.run_id),
        "fingerprint": withdrawn.fingerprint,
    }


def removed_metadata(removed: Removed) -> Metadata:
    """Return the metadata of a cleanup: what was removed, and in `left` what was not, and why."""
    return {
        "versions": [
            f"{version.collection}/{version.item_id} of run {version.run_id}"
            for version in removed.versions
        ],
        "objects": list(removed.objects),
        "size_bytes": removed.size_bytes,
        "tables": list(removed.tables),
        "left": dict(removed.left),
    }


def table_of(rows: list[dict[str, Any]]) -> dg.MetadataValue[Any]:
    """Return the rows as a table, or the text "none" if there are none."""
    return (
        dg.MetadataValue.table(records=[dg.TableRecord(row) for row in rows])
        if rows
        else dg.MetadataValue.text("none")
    )


def _findings(findings: tuple[Finding, ...]) -> Metadata:
    return (
        {
            "warnings": table_of(
                [{"code": finding.code, "message": finding.message} for finding in findings]
            )
        }
        if findings
        else {}
    )


def _lon_lat(bounds: LonLatBounds) -> str:
    crossing = ", across the antimeridian" if bounds.crosses_antimeridian else ""
    return (
        f"west {bounds.west:.6f}, south {bounds.south:.6f}, "
        f"east {bounds.east:.6f}, north {bounds.north:.6f}{crossing}"
    )


def _picture(
    objects: ObjectStore, picture: ObjectReference, media_type: str
) -> dg.MetadataValue[Any]:
    """Return the picture as embedded Markdown, so that the UI needs no access to the store.

    The alternative text is fixed: a name from a file must not get into Markdown.
    """
    content = base64.b64encode(objects.read_bytes(picture.container or SILVER, picture.key)).decode(
        "ascii"
    )
    return dg.MetadataValue.md(f"![picture of the result](data:{media_type};base64,{content})")
