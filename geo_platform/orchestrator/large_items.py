"""Find the large vector items that were published, and request the runs that draw their tiles.

The events of the asset `vector_item` are read with a cursor. Each tick reads the last OVERLAP event
numbers again, because PostgreSQL may show an event after an event with a higher number. An event is
processed once. A run key names the version of the item, so each version has one run.

Called by `schedules/sensors.py`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from pydantic import BaseModel

from assets.partitions import VECTOR_ITEMS
from geo_platform.chains.chain import Place
from geo_platform.chains.vector import ITEM
from geo_platform.errors import CatalogRejected
from geo_platform.ports import Catalog
from geo_platform.runs import CORRELATION_TAG, TRACEPARENT_TAG
from geo_platform.serving.features.kept_tiles import is_large
from geo_platform.serving.published import PublishedItem, version_of

OVERLAP = 500
_PAGE = 200
# Ingestion comes first.
_TAGS = {"dagster/priority": "-1"}


class PublicationsCursor(BaseModel):
    """The number of the last event, and those that were processed among the last OVERLAP."""

    after: int = -1
    seen: tuple[int, ...] = ()


@dataclass
class TilesPlan:
    """The runs to request, and sentences about items that cannot be read."""

    requests: list[dg.RunRequest] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    events: int = 0

    @property
    def result(self) -> Mapping[str, Any]:
        """The arguments of a sensor's result, without its cursor."""
        keys = [request.partition_key for request in self.requests if request.partition_key]
        return {
            "run_requests": self.requests,
            "skip_reason": None
            if self.requests
            else dg.SkipReason(f"{self.events} publications, none of a large item"),
            "dynamic_partitions_requests": [VECTOR_ITEMS.build_add_request(keys)] if keys else [],
        }


def plan_tiles_of_published(
    instance: dg.DagsterInstance, catalog: Catalog, cursor: PublicationsCursor
) -> tuple[PublicationsCursor, TilesPlan]:
    """Return the next cursor, and the runs for the large items published since the last one.

    Raises StoreUnavailable, StoreDenied, DatabaseUnavailable: the catalog does not answer.
    """
    plan = TilesPlan()
    seen = set(cursor.seen)
    published = dg.AssetRecordsFilter(
        asset_key=dg.AssetKey(ITEM.name), after_storage_id=max(cursor.after - OVERLAP, -1)
    )
    after = cursor.after
    for record in instance.fetch_materializations(published, limit=_PAGE, ascending=True).records:
        after = max(after, record.storage_id)
        if record.storage_id in seen:
            continue
        seen.add(record.storage_id)
        plan.events += 1
        _request(plan, instance, catalog, record)
    recent = tuple(sorted(number for number in seen if number > after - OVERLAP))
    return PublicationsCursor(after=after, seen=recent), plan


def _request(
    plan: TilesPlan, instance: dg.DagsterInstance, catalog: Catalog, record: dg.EventLogRecord
) -> None:
    """Add a run for each large item that the event tells of and that is still published."""
    for collection, item_id in _places(record):
        try:
            document = catalog.item(collection, item_id)
        except CatalogRejected as error:
            plan.faults.append(f"{collection}/{item_id}: {error}")
            continue
        if document is None:
            continue
        item = PublishedItem(collection, item_id, version_of(document), document)
        if not is_large(item):
            continue
        key = f"{collection}/{item_id}"
        plan.requests.append(
            dg.RunRequest(
                run_key=f"vector_tiles:{key}:{item.version}",
                partition_key=key,
                tags={**_TAGS, **_client_tags(instance, record.run_id)},
            )
        )


def _places(record: dg.EventLogRecord) -> Iterator[Place]:
    materialization = record.asset_materialization
    if materialization is None:
        return
    metadata = {name: value.value for name, value in materialization.metadata.items()}
    items = metadata.get("items")
    for item in items if isinstance(items, list) else [metadata]:
        if isinstance(item, Mapping) and "collection" in item and "item_id" in item:
            yield str(item["collection"]), str(item["item_id"])


def _client_tags(instance: dg.DagsterInstance, run_id: str) -> dict[str, str]:
    """Return the client's ids of the run that published, so that a trace finds both runs."""
    run = instance.get_run_by_id(run_id)
    tags = run.tags if run is not None else {}
    return {name: tags[name] for name in (CORRELATION_TAG, TRACEPARENT_TAG) if name in tags}
