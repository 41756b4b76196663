"""Turn publications, withdrawals and restorations of items into events of one run.

Pure functions. A catalog of STAC files keeps no record of writes; `writes_of_versions` infers them
from the items.
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
from geo_platform.trace.sources import CatalogWrite, RunFacts, TableFound
from geo_platform.trace.timeline import Event, Kind, Store

PUBLISH, UNPUBLISH = "publish", "unpublish"
_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


def catalog_events(run_id: str, writes: Iterable[CatalogWrite]) -> list[Event]:
    """Return the run's own writes, and later writes of others to what it had published."""
    by_time = sorted(writes, key=lambda write: write.at_utc)
    published: dict[tuple[str, str, str], datetime] = {}
    events = []
    for write in by_time:
        version = (write.collection, write.item_id, write.fingerprint)
        if write.run_id == run_id:
            if write.action == PUBLISH:
                published.setdefault(version, write.at_utc)
            events.append(_own(write))
        elif (kind := _since(write, version, published, run_id)) is not None:
            events.append(_others(write, kind))
    return events


def table_events(tables: Iterable[TableFound]) -> list[Event]:
    """Return for each table when it was loaded and where it is now."""
    events = []
    for table in tables:
        moment = _time(table.says.get("loaded_at_utc") or table.says.get("started_at_utc"))
        is_whole = "loaded_at_utc" in table.says
        rows = f"{table.says.get('rows')} rows" if is_whole else "its load did not finish"
        named = (
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
            **{name: table.says.get(name) for name in named},
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
    """Infer the writes to an item from its published and kept versions, oldest first.

    A version records its first publication, its last restoration and its last withdrawal.
    `unpublishing` are the runs that unpublished the item; which version they withdrew follows from
    the times. A version that was withdrawn without a successor was unpublished by an unknown run.
    """
    lives: list[tuple[Mapping[str, Any], datetime | None]] = [
        (version.item, version.withdrawn_at_utc) for version in versions
    ]
    if present is not None:
        lives.append((present, None))
    publications = sorted(
        (write for item, _ in lives for write in _publications(item)),
        key=lambda write: write.at_utc,
    )
    withdrawals = [
        *_withdrawn_by(unpublishing, [moment for _, moment in lives if moment is not None])
    ]
    known = {withdrawal.at_utc for withdrawal in withdrawals}
    for item, moment in lives:
        if (
            moment is not None
            and moment not in known
            and not _is_followed(_publications(item)[-1], publications, moment)
        ):
            withdrawals.append(
                replace(_publications(item)[-1], at_utc=moment, action=UNPUBLISH, run_id=None)
            )
    return _in_turn([*publications, *withdrawals])


def _withdrawn_by(runs: Sequence[RunFacts], moments: Sequence[datetime]) -> list[CatalogWrite]:
    """Return an UNPUBLISH for each run.

    Its time is that of a version's withdrawal during the run, else the end of the run.
    """
    writes = []
    for run in runs:
        begun, ended = run.started_at_utc or run.requested_at_utc, run.ended_at_utc
        if run.status == "success" and ended is not None:
            within = [moment for moment in moments if begun <= moment <= ended]
            writes.append(
                CatalogWrite(within[0] if within else ended, UNPUBLISH, run.run_id, "", "", "")
            )
    return writes


def _is_followed(
    last: CatalogWrite, publications: Sequence[CatalogWrite], withdrawn_at_utc: datetime
) -> bool:
    return any(last.at_utc < write.at_utc <= withdrawn_at_utc for write in publications)


def _in_turn(writes: Iterable[CatalogWrite]) -> list[CatalogWrite]:
    """Add to each write the version that was published before it: what it replaced or withdrew."""
    told: list[CatalogWrite] = []
    live: CatalogWrite | None = None
    for write in sorted(writes, key=lambda write: write.at_utc):
        if write.action == PUBLISH:
            over = (
                replace(write, replaced_fingerprint=live.fingerprint, replaced_run_id=live.made_by)
                if live is not None
                else write
            )
            told.append(over)
            live = write
        elif live is not None:
            told.append(replace(live, run_id=write.run_id, at_utc=write.at_utc, action=UNPUBLISH))
            live = None
    return told


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
    """Return what another run's write means for this run, or None if it does not concern it."""
    replaced = (write.collection, write.item_id, write.replaced_fingerprint or "")
    if write.action == PUBLISH and version in published:
        return Kind.RESTORED
    if write.action == PUBLISH and (
        replaced in published or (published and write.replaced_run_id == run_id)
    ):
        return Kind.REPLACED
    return Kind.UNPUBLISHED if write.action == UNPUBLISH and version in published else None


def _own(write: CatalogWrite) -> Event:
    kind = Kind.CATALOG_PUBLISHED if write.action == PUBLISH else Kind.CATALOG_UNPUBLISHED
    over = (
        f", replacing what run {write.replaced_run_id} published"
        if write.replaced_fingerprint
        else ""
    )
    table = f" with table {write.table}" if write.table else ""
    return Event(
        write.at_utc,
        Store.catalog,
        kind,
        f"{write.collection}/{write.item_id}{table}{over}",
        details=_details(write),
    )


def _others(write: CatalogWrite, kind: Kind) -> Event:
    done = {
        Kind.REPLACED: "replaced",
        Kind.RESTORED: "published again",
        Kind.UNPUBLISHED: "unpublished",
    }[kind]
    by = f"by run {write.run_id}" if write.run_id else "by an unknown run"
    said = f"{write.collection}/{write.item_id} was {done}, {by}"
    return Event(
        write.at_utc, Store.catalog, kind, said, by_run=write.run_id, details=_details(write)
    )


def _details(write: CatalogWrite) -> dict[str, Any]:
    named = (
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
    return {name: getattr(write, name) for name in named}


def _time(text: Any) -> datetime:
    """Return the time in an item or comment; the earliest time if it has none that can be read."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return _BEFORE_ALL
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
