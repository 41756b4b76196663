"""The stage vector_features: load a profiled source into a dataset and account for every row.

The dataset, the rejected rows and the map are written first, in a folder named by the fingerprint
(a hash of the source's etag, the options and the versions of the stages). The record
`features.json` is written last and holds the message FeaturesLoaded. A dataset without a record is
ignored. If a run is killed before the record is written, the next run does the work again.

    silver/<key_prefix>/<fingerprint>/features.json

Called by `chains/vector.py`.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError
from pyproj import CRS

from geo_platform.contracts.message import Finding, ObjectReference
from geo_platform.contracts.vector import (
    FeaturesLoaded,
    FieldMapping,
    FieldType,
    RejectReason,
    VectorProfiled,
)
from geo_platform.errors import SourceNotFound, TableExists
from geo_platform.fingerprint import Recipe
from geo_platform.ports import (
    FEATURES_RECORD,
    SILVER,
    FeatureDataset,
    FeatureStore,
    FeatureTarget,
    ObjectStore,
    StoredObject,
)
from geo_platform.source.arrival import open_source
from geo_platform.telemetry.checkpoints import Checkpoint, report
from geo_platform.vector.clean_stream import CleanStream
from geo_platform.vector.crs import srid_of
from geo_platform.vector.extent import lonlat_bounds
from geo_platform.vector.field_names import GEOMETRY_COLUMN
from geo_platform.vector.options import LoadMode, VectorFeaturesOptions
from geo_platform.vector.plan import FeaturePlan, plan_features
from geo_platform.vector.read import stream_features
from geo_platform.vector.thumbnail import MEDIA_TYPE, draw_map


@dataclass(frozen=True)
class _LoadedData:
    """The loaded dataset and its context, for the steps after the load."""

    profiled: VectorProfiled
    plan: FeaturePlan
    rows: CleanStream
    dataset: FeatureDataset
    fingerprint: str
    run_id: str

    def key(self, name: str) -> str:
        return f"{self.plan.key_prefix}/{self.fingerprint}/{name}"

    @property
    def metadata(self) -> dict[str, str]:
        return {
            "source_uri": self.profiled.source.uri,
            "run_id": self.run_id,
            "fingerprint": self.fingerprint,
        }


def load_features(
    profiled: VectorProfiled,
    options: VectorFeaturesOptions,
    objects: ObjectStore,
    features: FeatureStore,
    *,
    recipe: Recipe,
    run_id: str,
    scratch: Path,
    notify: Callable[[str], None] | None = None,
) -> FeaturesLoaded:
    """Plan, read, clean and load the source.

    `notify` is called with progress texts. A complete dataset with the same fingerprint is reused,
    unless `force` was set for the source. After an error nothing is published.

    Raises TableExists: `load_mode` does not allow replacing the dataset of this name, or another
    source loaded a dataset of this name at the same time.
    Raises NoFeatures, NoGeometry, GeometryUnrepairable: no row can be published.
    Raises Conflict: the source was replaced or deleted since it arrived.
    Raises StoreUnavailable, StoreDenied, DatabaseUnavailable: the store or database does not answer
    or refuses access.
    Raises what `plan_features`, `stream_features`, `clean_batch` and `source.arrival.opened` raise.
    """
    started = time.perf_counter()
    plan = plan_features(profiled, options)
    new_fingerprint = recipe.extend(profiled.fingerprint, options.model_dump(mode="json"))
    target = _target(plan, profiled, options, fingerprint=new_fingerprint, run_id=run_id)
    features.check_free(target)
    previous_result = (
        None if profiled.source.force else _find_record(objects, features, plan, new_fingerprint)
    )
    if previous_result is not None:
        return previous_result.model_copy(
            update={
                "source": profiled.source,
                "was_reused": True,
                "seconds": time.perf_counter() - started,
            }
        )
    findings: dict[str, Finding] = {finding.message: finding for finding in profiled.warnings}
    rows = CleanStream(
        plan,
        display_name=profiled.source.key,
        rejected_path=scratch / f"rejected-{new_fingerprint}.parquet",
        notify=notify,
    )
    with open_source(objects, profiled.source, scratch=scratch) as source:
        batches = rows.clean(stream_features(source, profiled, plan.batch_rows, findings))
        dataset = features.load(target, batches, scratch=scratch)
    rows.assert_balanced(dataset.rows)
    _report_loaded(rows, dataset)
    data = _LoadedData(profiled, plan, rows, dataset, new_fingerprint, run_id)
    rejected, thumbnail = _put_rejected_rows(objects, data), _put_map(objects, data)
    loaded = _message(
        data,
        options,
        rejected=rejected,
        thumbnail=thumbnail,
        warnings=(*findings.values(), *dataset.findings),
        seconds=time.perf_counter() - started,
    )
    _write_record(objects, plan, loaded, run_id)
    return loaded


def _target(
    plan: FeaturePlan,
    profiled: VectorProfiled,
    options: VectorFeaturesOptions,
    *,
    fingerprint: str,
    run_id: str,
) -> FeatureTarget:
    return FeatureTarget(
        dataset=plan.dataset,
        schema=plan.schema,
        geometry_column=GEOMETRY_COLUMN,
        crs=plan.crs,
        geometry_type=plan.geometry_type,
        fingerprint=fingerprint,
        key_prefix=plan.key_prefix,
        metadata={
            "source_uri": profiled.source.uri,
            "source_etag": profiled.source.etag,
            "run_id": run_id,
        },
        indexes=plan.indexes,
        schema_name=options.schema_name,
        load_mode=options.mode.value,
        key_columns=tuple(options.key_columns),
        dimension=plan.dimension,
        json_columns=tuple(
            field.published for field in plan.fields if field.type is FieldType.json
        ),
        column_comments={field.published: _column_comment(field) for field in plan.fields},
    )


def _column_comment(field: FieldMapping) -> str:
    why = f", renamed: {field.renamed_because}" if field.renamed_because else ""
    return f"{field.source} in the source{why}"


def _report_loaded(rows: CleanStream, dataset: FeatureDataset) -> None:
    report(
        Checkpoint.FEATURES_LOADED,
        f"{dataset.dataset}: {rows.read} rows read, "
        f"{rows.inserted} inserted, {rows.rejected} rejected",
        dataset=dataset.dataset,
        read=rows.read,
        inserted=rows.inserted,
        rejected=rows.rejected,
        table_version=dataset.table.version if dataset.table else None,
    )


def _put_rejected_rows(objects: ObjectStore, data: _LoadedData) -> ObjectReference | None:
    if not data.rows.rejected:
        return None
    key = data.key(f"{data.plan.dataset}_rejected.parquet")
    return objects.put_file(
        SILVER, key, data.rows.rejected_path, metadata=data.metadata, move=True
    ).reference


def _put_map(objects: ObjectStore, data: _LoadedData) -> ObjectReference:
    png = draw_map(data.rows.sample.wkb, data.dataset.bounds, CRS.from_wkt(data.plan.crs.wkt))
    return objects.put_bytes(
        SILVER, data.key("thumbnail.png"), png, metadata=data.metadata
    ).reference


def _message(
    data: _LoadedData,
    options: VectorFeaturesOptions,
    *,
    rejected: ObjectReference | None,
    thumbnail: ObjectReference,
    warnings: tuple[Finding, ...],
    seconds: float,
) -> FeaturesLoaded:
    plan, rows, dataset = data.plan, data.rows, data.dataset
    crs = CRS.from_wkt(plan.crs.wkt)
    return FeaturesLoaded(
        source=data.profiled.source,
        destination=dataset.destination,
        dataset=dataset.dataset,
        dataset_object=dataset.stored,
        sha256=dataset.sha256,
        table=dataset.table,
        load_mode=options.mode.value,
        rejected_object=rejected,
        read=rows.read,
        inserted=rows.inserted,
        rejected=rows.rejected,
        reject_reasons=tuple(
            RejectReason(reason=reason, rows=count)
            for reason, count in sorted(rows.reasons.items())
        ),
        repaired=rows.repaired,
        linearised=rows.linearised > 0,
        bounds=dataset.bounds,
        lonlat_bounds=lonlat_bounds(dataset.bounds, crs),
        geometry_type=plan.geometry_type,
        dimension=plan.dimension,
        crs=plan.crs,
        srid=srid_of(crs),
        was_reprojected=plan.was_reprojected,
        asked_crs=options.target_crs,
        fields=plan.fields,
        thumbnail=thumbnail,
        thumbnail_media_type=MEDIA_TYPE,
        warnings=warnings,
        was_reused=False,
        seconds=seconds,
        fingerprint=data.fingerprint,
    )


def _find_record(
    objects: ObjectStore, features: FeatureStore, plan: FeaturePlan, fingerprint: str
) -> FeaturesLoaded | None:
    """Return the recorded message of this fingerprint if its objects and table are unchanged."""
    try:
        document = json.loads(objects.read_bytes(SILVER, _record_key(plan, fingerprint)))
        if document.get("schema_version") != FeaturesLoaded.schema_version:
            return None
        loaded = FeaturesLoaded.model_validate_json(json.dumps(document["message"]))
    except (SourceNotFound, ValidationError, ValueError, KeyError, AttributeError):
        return None
    side_objects = [
        reference
        for reference in (loaded.rejected_object, loaded.thumbnail)
        if reference is not None
    ]
    is_complete = all(
        _is_unchanged(objects, reference) for reference in side_objects
    ) and features.holds(loaded.dataset_object, loaded.table)
    return loaded if is_complete else None


def _is_unchanged(objects: ObjectStore, reference: ObjectReference) -> bool:
    try:
        return objects.stat(reference.container, reference.key).reference.etag == reference.etag
    except SourceNotFound:
        return False


def _write_record(
    objects: ObjectStore, plan: FeaturePlan, loaded: FeaturesLoaded, run_id: str
) -> None:
    document = {
        "type": "FeaturesLoaded",
        "schema_version": FeaturesLoaded.schema_version,
        "message": loaded.model_dump(mode="json"),
    }
    metadata = {
        "source_uri": loaded.source.uri,
        "run_id": run_id,
        "fingerprint": loaded.fingerprint,
    }
    objects.put_bytes(
        SILVER,
        _record_key(plan, loaded.fingerprint),
        json.dumps(document, ensure_ascii=False, indent=1).encode(),
        metadata=metadata,
    )
    # For a table, the transaction that publishes it decides which source owns the name.
    if loaded.table is None and loaded.load_mode != LoadMode.replace:
        _delete_record_if_second(objects, plan, loaded)


def _delete_record_if_second(
    objects: ObjectStore, plan: FeaturePlan, loaded: FeaturesLoaded
) -> None:
    """Delete the record of this run if another source recorded the same dataset name first.

    Two runs at the same time can both find the name free. If both records appeared within one tick
    of the clock, both runs delete their record.
    Raises TableExists: another source recorded the name first.
    """
    records = [
        stored
        for stored in objects.list(SILVER, f"{plan.key_prefix}/")
        if stored.reference.key.endswith(f"/{FEATURES_RECORD}")
    ]
    record_key = _record_key(plan, loaded.fingerprint)
    record = next(stored for stored in records if stored.reference.key == record_key)
    records_of_others = [
        stored
        for stored in records
        if stored.metadata.get("source_uri") not in (None, loaded.source.uri)
    ]
    earlier = next(
        (stored for stored in records_of_others if _appeared(stored) <= _appeared(record)), None
    )
    if earlier is not None:
        objects.delete(SILVER, record_key)
        raise TableExists(
            f"The dataset {plan.dataset} came from {earlier.metadata['source_uri']}, not from "
            f"{loaded.source.uri}.",
            dataset=plan.dataset,
        )


def _appeared(stored: StoredObject) -> datetime:
    # The modification time of a file can be older than its appearance in the store.
    return stored.appeared_utc or stored.last_modified_utc


def _record_key(plan: FeaturePlan, fingerprint: str) -> str:
    return f"{plan.key_prefix}/{fingerprint}/{FEATURES_RECORD}"
