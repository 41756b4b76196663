"""vector_features: a profiled source becomes a dataset; every row of it is published or listed as rejected.

What belongs here: the order of the stage, and its message. What stays out: the steps, each in a module of its own.

Order of writing, so that a kill at any point leaves nothing that counts: rejected rows, map, dataset are put under the
fingerprint, the record last. Without the record the next run does it all again.

The record beside a dataset: written last, so that its presence says the dataset is whole.

What belongs here: writing it and finding it again. What stays out: the dataset itself.

    silver/<key_prefix>/<fingerprint>/features.json
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError
from pyproj import CRS

from geo_platform import fingerprint
from geo_platform.contracts.message import Finding, ObjectReference
from geo_platform.contracts.vector import (
    FeaturesLoaded,
    FieldMapping,
    FieldType,
    RejectReason,
    VectorProfiled,
)
from geo_platform.errors import SourceNotFound, TableExists
from geo_platform.ports import (
    FEATURES_RECORD,
    SILVER,
    FeatureDataset,
    FeatureStore,
    FeatureTarget,
    ObjectStore,
    StoredObject,
)
from geo_platform.source.arrival import opened
from geo_platform.telemetry.checkpoints import Checkpoint, report
from geo_platform.vector.accounts import RowAccounts
from geo_platform.vector.crs import srid_of
from geo_platform.vector.extent import lonlat_bounds
from geo_platform.vector.field_names import GEOMETRY_COLUMN
from geo_platform.vector.options import LoadMode, VectorFeaturesOptions
from geo_platform.vector.plan import FeaturePlan, plan_features
from geo_platform.vector.read import stream_features
from geo_platform.vector.thumbnail import MEDIA_TYPE, draw_map


def write_record(
    objects: ObjectStore, plan: FeaturePlan, loaded: FeaturesLoaded, run_id: str
) -> None:
    """Raises TableExists where a dataset of files got another source meanwhile: both found its name free, and this one was not first."""
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
        _key(plan, loaded.fingerprint),
        json.dumps(document, ensure_ascii=False, indent=1).encode(),
        metadata=metadata,
    )
    if (
        loaded.table is None and loaded.load_mode != LoadMode.replace
    ):  # of tables the publication decides, in its transaction
        _refuse_second(objects, plan, loaded)


def _refuse_second(objects: ObjectStore, plan: FeaturePlan, loaded: FeaturesLoaded) -> None:
    """Whoever comes second finds the first one's record; of two within one tick of the clock neither was first. Its own record goes."""
    records = [
        stored
        for stored in objects.list(SILVER, f"{plan.key_prefix}/")
        if stored.reference.key.endswith(f"/{FEATURES_RECORD}")
    ]
    own = next(
        stored for stored in records if stored.reference.key == _key(plan, loaded.fingerprint)
    )
    others = [
        stored
        for stored in records
        if stored.metadata.get("source_uri") not in (None, loaded.source.uri)
    ]
    before = next((stored for stored in others if _appeared(stored) <= _appeared(own)), None)
    if before is not None:
        objects.delete(SILVER, own.reference.key)
        holder = before.metadata["source_uri"]
        raise TableExists(
            f"The dataset {plan.dataset} came from {holder}, not from {loaded.source.uri}.",
            dataset=plan.dataset,
        )


def _appeared(stored: StoredObject) -> datetime:
    """When it came to lie there, which a file's own time need not be."""
    return stored.appeared_utc or stored.last_modified_utc


def find_record(
    objects: ObjectStore, features: FeatureStore, plan: FeaturePlan, fingerprint: str
) -> FeaturesLoaded | None:
    """What was loaded under this fingerprint before, if all of it still lies there unchanged."""
    try:
        document = json.loads(objects.read_bytes(SILVER, _key(plan, fingerprint)))
        if document.get("schema_version") != FeaturesLoaded.schema_version:
            return None
        loaded = FeaturesLoaded.model_validate_json(json.dumps(document["message"]))
    except (SourceNotFound, ValidationError, ValueError, KeyError, AttributeError):
        return None
    beside = [
        reference
        for reference in (loaded.rejected_object, loaded.thumbnail)
        if reference is not None
    ]
    is_whole = all(_lies_unchanged(objects, reference) for reference in beside) and features.holds(
        loaded.dataset_object, loaded.table
    )
    return loaded if is_whole else None


def _lies_unchanged(objects: ObjectStore, reference: ObjectReference) -> bool:
    try:
        return objects.stat(reference.container, reference.key).reference.etag == reference.etag
    except SourceNotFound:
        return False


def _key(plan: FeaturePlan, fingerprint: str) -> str:
    return f"{plan.key_prefix}/{fingerprint}/{FEATURES_RECORD}"


def load_features(
    profiled: VectorProfiled,
    options: VectorFeaturesOptions,
    objects: ObjectStore,
    features: FeatureStore,
    *,
    run_id: str,
    scratch: Path,
    force: bool = False,
    notify: Callable[[str], None] | None = None,
) -> FeaturesLoaded:
    """Plan, read, clean, load; or hand back what lies there already under the same fingerprint, unless `force`.

    Raises what `plan_features`, `stream_features`, `clean_batch` and the stores raise, TableExists, and NoGeometry or
    GeometryUnrepairable where no row can be published. Nothing is published then.
    """
    started = time.perf_counter()
    plan = plan_features(profiled, options)
    done = fingerprint.extend(
        profiled.fingerprint, "vector_features", options.model_dump(mode="json")
    )
    target = _target(plan, profiled, options, fingerprint=done, run_id=run_id)
    features.check_free(target)
    known = None if force else find_record(objects, features, plan, done)
    if known is not None:
        return known.model_copy(
            update={
                "source": profiled.source,
                "was_reused": True,
                "seconds": time.perf_counter() - started,
            }
        )
    found: dict[str, Finding] = {finding.message: finding for finding in profiled.warnings}
    accounts = RowAccounts(
        plan,
        display_name=profiled.source.key,
        rejected_path=scratch / f"rejected-{done}.parquet",
        notify=notify,
    )
    with opened(objects, profiled.source, scratch=scratch) as source:
        batches = accounts.clean_batches(stream_features(source, profiled, plan.batch_rows, found))
        dataset = features.load(target, batches, scratch=scratch)
    accounts.assert_balanced(dataset.rows)
    _report_loaded(accounts, dataset)
    work = _Work(profiled, plan, accounts, dataset, done, run_id)
    rejected, thumbnail = _put_rejected(objects, work), _put_map(objects, work)
    loaded = _message(
        work,
        options,
        (rejected, thumbnail),
        (*found.values(), *dataset.findings),
        time.perf_counter() - started,
    )
    write_record(objects, plan, loaded, run_id)
    return loaded


def _report_loaded(accounts: RowAccounts, dataset: FeatureDataset) -> None:
    report(
        Checkpoint.FEATURES_LOADED,
        f"{dataset.dataset}: {accounts.read} rows read, {accounts.inserted} inserted, {accounts.rejected} rejected",
        dataset=dataset.dataset,
        read=accounts.read,
        inserted=accounts.inserted,
        rejected=accounts.rejected,
        table_version=dataset.table.version if dataset.table else None,
    )


@dataclass(frozen=True)
class _Work:
    """What the steps after loading share."""

    profiled: VectorProfiled
    plan: FeaturePlan
    accounts: RowAccounts
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
        column_comments={field.published: _origin(field) for field in plan.fields},
    )


def _origin(field: FieldMapping) -> str:
    """What is to be said of a published column."""
    why = f", renamed: {field.renamed_because}" if field.renamed_because else ""
    return f"{field.source} in the source{why}"


def _put_rejected(objects: ObjectStore, work: _Work) -> ObjectReference | None:
    if not work.accounts.rejected:
        return None
    key = work.key(f"{work.plan.dataset}_rejected.parquet")
    return objects.put_file(
        SILVER, key, work.accounts.rejected_path, metadata=work.metadata, move=True
    ).reference


def _put_map(objects: ObjectStore, work: _Work) -> ObjectReference:
    picture = draw_map(
        work.accounts.sample.wkb, work.dataset.bounds, CRS.from_wkt(work.plan.crs.wkt)
    )
    return objects.put_bytes(
        SILVER, work.key("thumbnail.png"), picture, metadata=work.metadata
    ).reference


def _message(
    work: _Work,
    options: VectorFeaturesOptions,
    side_objects: tuple[ObjectReference | None, ObjectReference],
    warnings: tuple[Finding, ...],
    seconds: float,
) -> FeaturesLoaded:
    plan, accounts, dataset = work.plan, work.accounts, work.dataset
    crs = CRS.from_wkt(plan.crs.wkt)
    return FeaturesLoaded(
        source=work.profiled.source,
        destination=dataset.destination,
        dataset=dataset.dataset,
        dataset_object=dataset.stored,
        sha256=dataset.sha256,
        table=dataset.table,
        load_mode=options.mode.value,
        rejected_object=side_objects[0],
        read=accounts.read,
        inserted=accounts.inserted,
        rejected=accounts.rejected,
        reject_reasons=tuple(
            RejectReason(reason=reason, rows=rows)
            for reason, rows in sorted(accounts.reasons.items())
        ),
        repaired=accounts.repaired,
        linearised=accounts.linearised > 0,
        bounds=dataset.bounds,
        lonlat_bounds=lonlat_bounds(dataset.bounds, crs),
        geometry_type=plan.geometry_type,
        dimension=plan.dimension,
        crs=plan.crs,
        srid=srid_of(crs),
        was_reprojected=plan.was_reprojected,
        asked_crs=options.target_crs,
        fields=plan.fields,
        thumbnail=side_objects[1],
        thumbnail_media_type=MEDIA_TYPE,
        warnings=warnings,
        was_reused=False,
        seconds=seconds,
        fingerprint=work.fingerprint,
    )
