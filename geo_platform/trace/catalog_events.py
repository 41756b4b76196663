"""Turn the writes to items (publication, withdrawal, restoration) into events of one run.

Pure functions. A catalog of STAC files keeps no record of its writes; `writes_of_versions` infers
the writes from the published and kept versions of an item.

Called by `answer.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from geo_platform.ports import (
    ASSET_SCHEMA,
    ASSET_TABLE,
    ASSET_TABLE_VERSION,
    ITEM_FINGERPRINT,
    ITEM_FIRST_PUBLISHED,
    ITEM_RESTORED_BY,
    ITEM_RUN_ID,
    ItemVersion,
)
from geo_platform.trace.sources import CatalogWrite, LocatedTable, RunFacts
from geo_platform.trace.timeline import Event, Kind, Store

PUBLISH, UNPUBLISH = "publish", "unpublish"
_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


def catalog_events(run_id: str, writes: Iterable[CatalogWrite]) -> list[Event]:
    """Return the writes of the run, and other runs' later writes to the items that it published."""
    by_time = sorted(writes, key=lambda write: write.at_utc)
    published: dict[tuple[str, str, str], datetime] = {}
    events = []
    for write in by_time:
        version = (write.collection, write.item_id, write.fingerprint)
        if write.run_id == run_id:
            if write.action == PUBLISH:
                published.setdefault(version, write.at_utc)
            events.append(_event_of_run(write))
        elif (kind := _since(write, version, published, run_id)) is not None:
            events.append(_event_of_other_run(write, kind))
    return events


def table_events(tables: Iterable[LocatedTable]) -> list[Event]:
    """Return an event for each table: when it was loaded, with its present place in the details."""
    events = []
    for table in tables:
        moment = _time(table.comment.get("loaded_at_utc") or table.comment.get("started_at_utc"))
        is_whole = "loaded_at_utc" in table.comment
        rows = f"{table.comment.get('rows')} rows" if is_whole else "its load did not finish"
        fields = (
            "dataset",
            "version",
            "fingerprint",
            "source_uri",
            "source_etag",
            "load_mode",
            "base_version",
            "rows",
        )
        details = {
            "lies_in": f"{table.schema}.{table.name}",
            **{name: table.comment.get(name) for name in fields},
        }
        events.append(
            Event(
                moment,
                Store.tables,
                Kind.TABLE_LOADED,
                f"{table.schema}.{table.name}, {rows}",
                details=details,
            )
        )
    return events


def writes_of_versions(
    present: Mapping[str, Any] | None,
    versions: Iterable[ItemVersion],
    unpublishing: Sequence[RunFacts] = (),
) -> list[CatalogWrite]:
    """Infer the writes to an item from its published and kept versions.

    Return the writes, oldest first. A version has the times of its first publication, its last
    restoration and its last withdrawal. `unpublishing` are the runs that unpublished the item; the
    version that a run withdrew is found by the times. If no known run and no later publication
    explains a withdrawal, an unknown run unpublished the version.
    """
    withdrawal_times: list[tuple[Mapping[str, Any], datetime | None]] = [
        (version.item, version.withdrawn_at_utc) for version in versions
    ]
    if present is not None:
        withdrawal_times.append((present, None))
    publications = sorted(
        (write for item, _ in withdrawal_times for write in _publications(item)),
        key=lambda write: write.at_utc,
    )
    withdrawals = [
        *_withdrawals_by(
            unpublishing, [moment for _, moment in withdrawal_times if moment is not None]
        )
    ]
    explained = {withdrawal.at_utc for withdrawal in withdrawals}
    for item, moment in withdrawal_times:
        if (
            moment is not None
            and moment not in explained
            and not _is_followed(_publications(item)[-1], publications, moment)
        ):
            withdrawals.append(
                replace(_publications(item)[-1], at_utc=moment, action=UNPUBLISH, run_id=None)
            )
    return _with_replaced([*publications, *withdrawals])


def _withdrawals_by(runs: Sequence[RunFacts], moments: Sequence[datetime]) -> list[CatalogWrite]:
    """Return a withdrawal for each successful run.

    Its time is the first of `moments` (times of withdrawals) during the run, or the end of the run.
    """
    writes = []
    for run in runs:
        start, end = run.started_at_utc or run.requested_at_utc, run.ended_at_utc
        if run.status == "success" and end is not None:
            within = [moment for moment in moments if start <= moment <= end]
            writes.append(
                CatalogWrite(within[0] if within else end, UNPUBLISH, run.run_id, "", "", "")
            )
    return writes


def _is_followed(
    last: CatalogWrite, publications: Sequence[CatalogWrite], withdrawn_at_utc: datetime
) -> bool:
    return any(last.at_utc < write.at_utc <= withdrawn_at_utc for write in publications)


def _with_replaced(writes: Iterable[CatalogWrite]) -> list[CatalogWrite]:
    """Add to each write the version that it replaced or withdrew: the version published before.

    A withdrawal while no version is published is dropped.
    """
    result: list[CatalogWrite] = []
    live: CatalogWrite | None = None
    for write in sorted(writes, key=lambda write: write.at_utc):
        if write.action == PUBLISH:
            completed = (
                replace(write, replaced_fingerprint=live.fingerprint, replaced_run_id=live.made_by)
                if live is not None
                else write
            )
            result.append(completed)
            live = write
        elif live is not None:
            result.append(replace(live, run_id=write.run_id, at_utc=write.at_utc, action=UNPUBLISH))
            live = None
    return result


def _publications(item: Mapping[str, Any]) -> list[CatalogWrite]:
    properties = item["properties"]
    table = next((asset for asset in item["assets"].values() if ASSET_TABLE_VERSION in asset), None)
    first = CatalogWrite(
        at_utc=_time(properties.get(ITEM_FIRST_PUBLISHED) or properties.get("updated")),
        action=PUBLISH,
        run_id=str(properties.get(ITEM_RUN_ID, "")),
        made_by=str(properties.get(ITEM_RUN_ID, "")),
        collection=str(item["collection"]),
        item_id=str(item["id"]),
        fingerprint=str(properties.get(ITEM_FINGERPRINT, "")),
        table=f"{table[ASSET_SCHEMA]}.{table[ASSET_TABLE]}" if table is not None else None,
        table_version=str(table[ASSET_TABLE_VERSION]) if table is not None else None,
    )
    restored_by = properties.get(ITEM_RESTORED_BY)
    return (
        [first]
        if restored_by is None
        else [
            first,
            replace(first, at_utc=_time(properties.get("updated")), run_id=str(restored_by)),
        ]
    )


def _since(
    write: CatalogWrite,
    version: tuple[str, str, str],
    published: Mapping[tuple[str, str, str], datetime],
    run_id: str,
) -> Kind | None:
    """Return the kind of event that another run's write is for this run.

    Return None if the write does not concern an item version of this run.
    """
    replaced = (write.collection, write.item_id, write.replaced_fingerprint or "")
    if write.action == PUBLISH and version in published:
        return Kind.RESTORED
    if write.action == PUBLISH and (
        replaced in published or (published and write.replaced_run_id == run_id)
    ):
        return Kind.REPLACED
    return Kind.UNPUBLISHED if write.action == UNPUBLISH and version in published else None


def _event_of_run(write: CatalogWrite) -> Event:
    kind = Kind.CATALOG_PUBLISHED if write.action == PUBLISH else Kind.CATALOG_UNPUBLISHED
    replacing = (
        f", replacing what run {write.replaced_run_id} published"
        if write.replaced_fingerprint
        else ""
    )
    table = f" with table {write.table}" if write.table else ""
    return Event(
        write.at_utc,
        Store.catalog,
        kind,
        f"{write.collection}/{write.item_id}{table}{replacing}",
        details=_details(write),
    )


def _event_of_other_run(write: CatalogWrite, kind: Kind) -> Event:
    verb = {
        Kind.REPLACED: "replaced",
        Kind.RESTORED: "published again",
        Kind.UNPUBLISHED: "unpublished",
    }[kind]
    by = f"by run {write.run_id}" if write.run_id else "by an unknown run"
    text = f"{write.collection}/{write.item_id} was {verb}, {by}"
    return Event(
        write.at_utc, Store.catalog, kind, text, by_run=write.run_id, details=_details(write)
    )


def _details(write: CatalogWrite) -> dict[str, Any]:
    fields = (
        "collection",
        "item_id",
        "fingerprint",
        "table",
        "table_version",
        "replaced_fingerprint",
        "replaced_run_id",
        "replaced_table_version",
        "login",
    )
    return {name: getattr(write, name) for name in fields}


def _time(text: Any) -> datetime:
    """Return a time from an item or a table's comment, or the earliest time if it is unreadable."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return _BEFORE_ALL
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
