"""The record of a load: the message FeaturesLoaded, stored beside the datasets.

    silver/<key_prefix>/<fingerprint>/features.json

It is written after the datasets. A later run of the same source and options finds it and reuses
them. It also shows which source owns the name of a dataset of files.

Called by `load.py`.
"""

import json
from datetime import datetime

from pydantic import ValidationError

from geo_platform.contracts.message import ObjectReference
from geo_platform.contracts.vector import FeaturesLoaded
from geo_platform.errors import SourceNotFound, TableExists
from geo_platform.ports import FEATURES_RECORD, SILVER, FeatureStore, ObjectStore, StoredObject
from geo_platform.vector.options import LoadMode
from geo_platform.vector.plan import FeaturePlan


def find_record(
    objects: ObjectStore, features: FeatureStore, plan: FeaturePlan, fingerprint: str
) -> FeaturesLoaded | None:
    """Return the recorded message of this fingerprint if its objects and tables are unchanged."""
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
    is_complete = all(_is_unchanged(objects, reference) for reference in side_objects) and all(
        features.holds(dataset.dataset_object, dataset.table) for dataset in loaded.datasets
    )
    return loaded if is_complete else None


def _is_unchanged(objects: ObjectStore, reference: ObjectReference) -> bool:
    try:
        return objects.stat(reference.container, reference.key).reference.etag == reference.etag
    except SourceNotFound:
        return False


def write_record(
    objects: ObjectStore, plan: FeaturePlan, loaded: FeaturesLoaded, run_id: str
) -> None:
    """Store the record of a load.

    Raises TableExists: another source recorded a dataset of this name first.
    """
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
    if loaded.datasets[0].table is None and loaded.load_mode != LoadMode.replace:
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
