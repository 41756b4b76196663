"""What a run's page shows of each stage: tables, counts, sizes, links, a picture.

What belongs here: turning a message into Dagster metadata. What stays out: anything that is not already in the message.
Texts from files go into table cells and JSON, which Dagster's UI shows as text; none is put into Markdown.
"""

import base64
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import dagster as dg

from geo_platform.catalog.retention import Removed
from geo_platform.catalog.undo import ItemWithdrawn
from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.message import Finding, ObjectReference
from geo_platform.contracts.publication import ItemPublished
from geo_platform.contracts.raster import CogStored, RasterProfiled
from geo_platform.contracts.vector import FeaturesLoaded, VectorProfiled
from geo_platform.errors import PlatformError
from geo_platform.grid import LonLatBounds
from geo_platform.ports import SILVER, ObjectStore

Metadata = Mapping[str, Any]


class FileOutcome(Protocol):
    """What became of one of the files that share a run."""

    @property
    def key(self) -> str: ...

    @property
    def error(self) -> PlatformError | None: ...

    @property
    def etag(self) -> str | None: ...

    @property
    def was_unchanged(self) -> bool: ...


def report_arrival(arrived: ObjectArrived) -> Metadata:
    return {
        "object": dg.MetadataValue.url(arrived.uri),
        "format": arrived.format.value,
        "media_type": arrived.media_type,
        "size_bytes": arrived.size_bytes,
        "etag": arrived.etag,
        "sidecars": [sidecar.key for sidecar in arrived.sidecars],
    }


def report_raster_profile(profiled: RasterProfiled) -> Metadata:
    return {
        "shape": f"{profiled.shape.rows} rows x {profiled.shape.cols} cols x {len(profiled.bands)} bands",
        "crs": profiled.crs.authority_code or profiled.crs.wkt,
        "crs_came_from": profiled.crs.came_from,
        "raster_type": f"{profiled.raster_type.value} ({profiled.raster_type_confidence:.0%}): {profiled.raster_type_reason}",
        "bounds_lon_lat": _lon_lat(profiled.lonlat_bounds),
        "bands": _table(
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


def report_cogs(stored: CogStored, objects: ObjectStore) -> Metadata:
    return {
        "preview": _picture(objects, stored.preview, stored.preview_media_type),
        "cogs": _table(
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


def report_vector_profile(profiled: VectorProfiled) -> Metadata:
    return {
        "layer": dg.MetadataValue.text(profiled.layer),
        "layers": _table(
            [
                {"layer": layer.name, "geometry_type": layer.geometry_type or "none"}
                for layer in profiled.layers
            ]
        ),
        "fields": _table(
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


def report_features(loaded: FeaturesLoaded, objects: ObjectStore) -> Metadata:
    return {
        "map": _picture(objects, loaded.thumbnail, loaded.thumbnail_media_type),
        "dagster/row_count": loaded.inserted,
        "rows": _table(
            [
                {"rows": "read", "count": loaded.read},
                {"rows": "inserted", "count": loaded.inserted},
                {"rows": "rejected", "count": loaded.rejected},
                {"rows": "repaired", "count": loaded.repaired},
            ]
        ),
        "reject_reasons": {rejected.reason: rejected.rows for rejected in loaded.reject_reasons},
        "columns": _table(
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
    if loaded.dataset_object is not None:
        return {"dataset": dg.MetadataValue.url(loaded.dataset_object.uri)}
    if loaded.table is not None:
        return {
            "dataset": loaded.table.uri,
            "dagster/table_name": f"{loaded.table.schema_name}.{loaded.table.table_name}",
        }
    return {"dataset": loaded.dataset}


def report_item(published: ItemPublished) -> Metadata:
    return {
        "item": dg.MetadataValue.url(published.href),
        "collection": published.collection,
        "item_id": published.item_id,
        "published_at_utc": published.published_at_utc.isoformat(),
        "published_by_run": dg.MetadataValue.dagster_run(published.run_id),
        "replaced_version": published.replaced_version or "none",
        "was_unchanged": published.was_unchanged,
        "outputs": list(published.outputs),
    }


def report_withdrawn(withdrawn: ItemWithdrawn) -> Metadata:
    return {
        "collection": withdrawn.collection,
        "item_id": withdrawn.item_id,
        "published_by_run": dg.MetadataValue.dagster_run(withdrawn.run_id),
        "fingerprint": withdrawn.fingerprint,
    }


def report_removed(removed: Removed) -> Metadata:
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


def report_files(
    outcomes: Sequence[FileOutcome], asked: Mapping[str, str], done: Collection[str] = ()
) -> Metadata:
    """Of a run over several files: how many ended how, and which were not published, with the reasons.

    `asked`: key -> etag. `done`: keys that an earlier attempt of the step published.
    """
    errors = {outcome.key: outcome.error for outcome in outcomes if outcome.error is not None}
    refused = sum(error.user_fixable for error in errors.values())
    newer = [
        outcome.key
        for outcome in outcomes
        if asked.get(outcome.key) and outcome.etag not in (None, asked[outcome.key])
    ]
    return {
        "files": len(asked),
        "published": sum(
            outcome.error is None and not outcome.was_unchanged for outcome in outcomes
        )
        + len(done),
        "unchanged": sum(outcome.was_unchanged for outcome in outcomes),
        "refused": refused,
        "failed": len(errors) - refused,
        "not_reached": len(asked) - len(done) - len(outcomes),
        "taken_newer_than_asked": newer,
        "not_published": _table(
            [
                {
                    "key": key,
                    **{name: error.as_record()[name] for name in ("code", "message", "remedy")},
                }
                for key, error in errors.items()
            ]
        ),
    }


def _table(rows: list[dict[str, Any]]) -> dg.MetadataValue[Any]:
    return (
        dg.MetadataValue.table(records=[dg.TableRecord(row) for row in rows])
        if rows
        else dg.MetadataValue.text("none")
    )


def _findings(findings: tuple[Finding, ...]) -> Metadata:
    return (
        {
            "warnings": _table(
                [{"code": finding.code, "message": finding.message} for finding in findings]
            )
        }
        if findings
        else {}
    )


def _lon_lat(bounds: LonLatBounds) -> str:
    crossing = ", across the antimeridian" if bounds.crosses_antimeridian else ""
    return f"west {bounds.west:.6f}, south {bounds.south:.6f}, east {bounds.east:.6f}, north {bounds.north:.6f}{crossing}"


def _picture(
    objects: ObjectStore, picture: ObjectReference, media_type: str
) -> dg.MetadataValue[Any]:
    """The picture inside the page, so that it shows wherever the UI runs. The alternative text is fixed: names are data."""
    content = base64.b64encode(objects.read_bytes(picture.container or SILVER, picture.key)).decode(
        "ascii"
    )
    return dg.MetadataValue.md(f"![picture of the result](data:{media_type};base64,{content})")
