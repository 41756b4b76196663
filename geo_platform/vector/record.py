"""The record beside a dataset: written last, so that its presence says the dataset is whole.

What belongs here: writing it and finding it again. What stays out: the dataset itself.

    silver/<key_prefix>/<fingerprint>/features.json
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


def write_record(objects: ObjectStore, plan: FeaturePlan, loaded: FeaturesLoaded, run_id: str) -> None:
    """Raises TableExists where a dataset of files got another source meanwhile: both found its name free, and this one was not first."""
    document = {"type": "FeaturesLoaded", "schema_version": FeaturesLoaded.schema_version, "message": loaded.model_dump(mode="json")}
    metadata = {"source_uri": loaded.source.uri, "run_id": run_id, "fingerprint": loaded.fingerprint}
    objects.put_bytes(
        SILVER, _key(plan, loaded.fingerprint), json.dumps(document, ensure_ascii=False, indent=1).encode(), metadata=metadata
    )
    if loaded.table is None and loaded.load_mode != LoadMode.replace:  # of tables the publication decides, in its transaction
        _refuse_second(objects, plan, loaded)


def _refuse_second(objects: ObjectStore, plan: FeaturePlan, loaded: FeaturesLoaded) -> None:
    """Whoever comes second finds the first one's record; of two within one tick of the clock neither was first. Its own record goes."""
    records = [stored for stored in objects.list(SILVER, f"{plan.key_prefix}/") if stored.reference.key.endswith(f"/{FEATURES_RECORD}")]
    own = next(stored for stored in records if stored.reference.key == _key(plan, loaded.fingerprint))
    others = [stored for stored in records if stored.metadata.get("source_uri") not in (None, loaded.source.uri)]
    before = next((stored for stored in others if _appeared(stored) <= _appeared(own)), None)
    if before is not None:
        objects.delete(SILVER, own.reference.key)
        holder = before.metadata["source_uri"]
        raise TableExists(f"The dataset {plan.dataset} came from {holder}, not from {loaded.source.uri}.", dataset=plan.dataset)


def _appeared(stored: StoredObject) -> datetime:
    """When it came to lie there, which a file's own time need not be."""
    return stored.appeared_utc or stored.last_modified_utc


def find_record(objects: ObjectStore, features: FeatureStore, plan: FeaturePlan, fingerprint: str) -> FeaturesLoaded | None:
    """What was loaded under this fingerprint before, if all of it still lies there unchanged."""
    try:
        document = json.loads(objects.read_bytes(SILVER, _key(plan, fingerprint)))
        if document.get("schema_version") != FeaturesLoaded.schema_version:
            return None
        loaded = FeaturesLoaded.model_validate_json(json.dumps(document["message"]))
    except (SourceNotFound, ValidationError, ValueError, KeyError, AttributeError):
        return None
    beside = [reference for reference in (loaded.rejected_object, loaded.thumbnail) if reference is not None]
    is_whole = all(_lies_unchanged(objects, reference) for reference in beside) and features.holds(loaded.dataset_object, loaded.table)
    return loaded if is_whole else None


def _lies_unchanged(objects: ObjectStore, reference: ObjectReference) -> bool:
    try:
        return objects.stat(reference.container, reference.key).reference.etag == reference.etag
    except SourceNotFound:
        return False


def _key(plan: FeaturePlan, fingerprint: str) -> str:
    return f"{plan.key_prefix}/{fingerprint}/{FEATURES_RECORD}"
