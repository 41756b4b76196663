"""The stage vector_features: load a profiled source and account for every row.

The source becomes one dataset, or one for each geometry family if it is split
(`family_datasets.py`). The datasets, the rejected rows and the map are written first, in a folder
named by the fingerprint (a hash of the source's etag, the options and the versions of the stages).
The record is written last (`feature_record.py`). Datasets without a record are ignored. If a run is
killed before the record is written, the next run does the work again.

Called by `layers.py`.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pyproj import CRS

from geo_platform.contracts.message import Finding, ObjectReference
from geo_platform.contracts.vector import (
    FeaturesLoaded,
    FieldMapping,
    FieldType,
    LoadedDataset,
    RejectReason,
    VectorProfiled,
)
from geo_platform.errors import GeometryMixed
from geo_platform.fingerprint import Recipe
from geo_platform.grid import Bounds
from geo_platform.longitudes import degrees_per_unit
from geo_platform.ports import (
    SILVER,
    FeatureDataset,
    FeatureStore,
    FeatureTarget,
    ObjectStore,
)
from geo_platform.source.arrival import open_source
from geo_platform.telemetry.checkpoints import Checkpoint, report
from geo_platform.vector.clean_stream import CleanStream
from geo_platform.vector.crs import horizontal, srid_of
from geo_platform.vector.extent import DEGREE_TOLERANCE
from geo_platform.vector.family_datasets import SUFFIX_OF, load_families, name_of_family
from geo_platform.vector.feature_record import find_record, write_record
from geo_platform.vector.field_names import GEOMETRY_COLUMN
from geo_platform.vector.geometry_families import TYPE_OF, Family
from geo_platform.vector.options import MixedGeometry, VectorFeaturesOptions
from geo_platform.vector.plan import ANY_GEOMETRY, FeaturePlan, plan_features
from geo_platform.vector.read import stream_features
from geo_platform.vector.thumbnail import MEDIA_TYPE, draw_map


@dataclass(frozen=True)
class _LoadedData:
    """The loaded datasets and their context, for the steps after the load."""

    profiled: VectorProfiled
    plan: FeaturePlan
    rows: CleanStream
    loaded: tuple[tuple[Family | None, FeatureDataset], ...]
    fingerprint: str
    run_id: str

    def key(self, name: str) -> str:
        return f"{self.plan.key_prefix}/{self.fingerprint}/{name}"

    @property
    def datasets(self) -> tuple[FeatureDataset, ...]:
        return tuple(dataset for _, dataset in self.loaded)

    @property
    def bounds(self) -> Bounds:
        """The bounds around all datasets."""
        every = [dataset.bounds for dataset in self.datasets]
        return Bounds(
            xmin=min(bounds.xmin for bounds in every),
            ymin=min(bounds.ymin for bounds in every),
            xmax=max(bounds.xmax for bounds in every),
            ymax=max(bounds.ymax for bounds in every),
        )

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

    `notify` is called with progress texts. Complete datasets with the same fingerprint are reused,
    unless `force` was set for the source. After an error nothing is published.

    Raises GeometryMixed: a row belongs to another geometry family, and `mixed_geometry` is refuse.
    Raises TableExists: `load_mode` does not allow replacing the dataset of this name, or another
    source loaded a dataset of this name at the same time.
    Raises NoFeatures, NoGeometry, GeometryUnrepairable: no row can be published.
    Raises Conflict: the source was replaced or deleted since it arrived.
    Raises StoreUnavailable, StoreDenied, DatabaseUnavailable: the store or database does not answer
    or refuses access.
    Raises what `plan_features`, `stream_features`, `clean_batch` and `source.arrival.opened` raise.
    """
    load = partial(
        _load_planned,
        profiled,
        options,
        objects,
        features,
        recipe=recipe,
        run_id=run_id,
        scratch=scratch,
        notify=notify,
    )
    plan = plan_features(profiled, options)
    try:
        return load(plan)
    except GeometryMixed:
        if plan.mixed_geometry is not MixedGeometry.split:
            raise
        # The sampled rows have one geometry family, but a later row has another. The names of the
        # datasets are different now, so the source is read again.
        return load(plan_features(profiled, options, is_mixed=True))


def _load_planned(
    profiled: VectorProfiled,
    options: VectorFeaturesOptions,
    objects: ObjectStore,
    features: FeatureStore,
    plan: FeaturePlan,
    *,
    recipe: Recipe,
    run_id: str,
    scratch: Path,
    notify: Callable[[str], None] | None,
) -> FeaturesLoaded:
    started = time.perf_counter()
    new_fingerprint = recipe.extend(profiled.fingerprint, options.model_dump(mode="json"))
    target_of = partial(
        _target, plan, profiled, options, fingerprint=new_fingerprint, run_id=run_id
    )
    for family in plan.families if plan.is_split else (None,):
        features.check_free(target_of(family))
    previous_result = (
        None if profiled.source.force else find_record(objects, features, plan, new_fingerprint)
    )
    if previous_result is not None:
        return previous_result.model_copy(
            update={
                "source": profiled.source,
                "layer": profiled.layer,
                "layer_suffix": profiled.layer_suffix,
                "is_one_of_all": profiled.is_one_of_all,
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
        loaded_datasets: list[tuple[Family | None, FeatureDataset]] = (
            [*load_families(batches, plan.schema, target_of, features, scratch=scratch)]
            if plan.is_split
            else [(None, features.load(target_of(None), batches, scratch=scratch))]
        )
    data = _LoadedData(profiled, plan, rows, tuple(loaded_datasets), new_fingerprint, run_id)
    rows.assert_balanced(sum(dataset.rows for dataset in data.datasets))
    _report_loaded(data)
    rejected, thumbnail = _put_rejected_rows(objects, data), _put_map(objects, data)
    loaded = _message(
        data,
        options,
        rejected=rejected,
        thumbnail=thumbnail,
        warnings=(
            *findings.values(),
            *dict.fromkeys(found for dataset in data.datasets for found in dataset.findings),
            *_seam_findings(data),
        ),
        seconds=time.perf_counter() - started,
    )
    write_record(objects, plan, loaded, run_id)
    return loaded


def _target(
    plan: FeaturePlan,
    profiled: VectorProfiled,
    options: VectorFeaturesOptions,
    family: Family | None,
    *,
    fingerprint: str,
    run_id: str,
) -> FeatureTarget:
    return FeatureTarget(
        dataset=plan.dataset if family is None else name_of_family(plan.dataset, family),
        schema=plan.schema,
        geometry_column=GEOMETRY_COLUMN,
        crs=plan.crs,
        geometry_type=_geometry_type(plan, family),
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
        is_forced=profiled.source.force,
    )


def _column_comment(field: FieldMapping) -> str:
    why = f", renamed: {field.renamed_because}" if field.renamed_because else ""
    return f"{field.source} in the source{why}"


def _report_loaded(data: _LoadedData) -> None:
    rows = data.rows
    names = ", ".join(dataset.dataset for dataset in data.datasets)
    versions = [dataset.table.version for dataset in data.datasets if dataset.table]
    report(
        Checkpoint.FEATURES_LOADED,
        f"{names}: {rows.read} rows read, {rows.inserted} inserted, {rows.rejected} rejected",
        dataset=names,
        read=rows.read,
        inserted=rows.inserted,
        rejected=rows.rejected,
        table_version=", ".join(versions) or None,
    )


def _put_rejected_rows(objects: ObjectStore, data: _LoadedData) -> ObjectReference | None:
    if not data.rows.rejected:
        return None
    key = data.key(f"{data.plan.dataset}_rejected.parquet")
    return objects.put_file(
        SILVER, key, data.rows.rejected_path, metadata=data.metadata, move=True
    ).reference


def _put_map(objects: ObjectStore, data: _LoadedData) -> ObjectReference:
    png = draw_map(
        data.rows.sample.wkb,
        data.bounds,
        CRS.from_wkt(data.plan.crs.wkt),
        over_antimeridian=data.rows.extent.crossing(),
    )
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
    plan, rows, bounds = data.plan, data.rows, data.bounds
    types = {_geometry_type(plan, family) for family, _ in data.loaded}
    crs = CRS.from_wkt(plan.crs.wkt)
    return FeaturesLoaded(
        source=data.profiled.source,
        destination=data.datasets[0].destination,
        dataset=plan.dataset,
        datasets=tuple(_dataset(plan, *each) for each in data.loaded),
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
        cut=rows.cut,
        bounds=bounds,
        lonlat_bounds=rows.extent.bounds(bounds),
        geometry_type=types.pop() if len(types) == 1 else ANY_GEOMETRY,
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
        layer=data.profiled.layer,
        layer_suffix=data.profiled.layer_suffix,
        is_one_of_all=data.profiled.is_one_of_all,
    )


def _seam_findings(data: _LoadedData) -> Iterator[Finding]:
    plan, rows, bounds = data.plan, data.rows, data.bounds
    if rows.cut:
        yield Finding(
            code="CUT_AT_SEAM",
            message=f"Rows that cross the edge of {CRS.from_wkt(plan.crs.wkt).name} and were cut "
            f"there into parts: {rows.cut:,}.",
        )
    if rows.drawn_round:
        yield Finding(
            code="EDGES_ROUND_THE_EARTH",
            message="Rows with edges of more than 180 degrees of longitude, kept as they are "
            f"drawn: {rows.drawn_round:,}. If they are meant to cross the antimeridian, add 360 to "
            "the negative longitudes of the source.",
        )
    crs = horizontal(CRS.from_wkt(plan.crs.wkt))
    if crs.is_geographic:
        limit = 180.0 / degrees_per_unit(crs)
        if bounds.xmin < -limit - DEGREE_TOLERANCE or bounds.xmax > limit + DEGREE_TOLERANCE:
            yield Finding(
                code="LONGITUDES_BEYOND_180",
                message=f"Longitudes from {bounds.xmin:g} to {bounds.xmax:g} are kept as they are "
                "in the source; set target_crs to the CRS of the dataset to bring them to "
                f"{-limit:g}..{limit:g}.",
            )


def _dataset(plan: FeaturePlan, family: Family | None, dataset: FeatureDataset) -> LoadedDataset:
    return LoadedDataset(
        dataset=dataset.dataset,
        family=None if family is None else SUFFIX_OF[family],
        geometry_type=_geometry_type(plan, family),
        rows=dataset.rows,
        bounds=dataset.bounds,
        dataset_object=dataset.stored,
        sha256=dataset.sha256,
        table=dataset.table,
    )


def _geometry_type(plan: FeaturePlan, family: Family | None) -> str:
    return plan.geometry_type if family is None else TYPE_OF[family]
