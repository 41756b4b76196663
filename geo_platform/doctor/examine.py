"""Compare all stores and return findings: the mismatches between them. Nothing is changed.

The stores are read one after another while runs continue. To avoid false findings, the catalog is
read before the objects. It is read again after the objects if an object seems to be unreferenced.
An item that seems to lack an object or table is read again before it is reported.

The comparisons are in `runs.py`, `claims.py`, `leftovers.py` and `records.py`; `mend.py` executes
the actions of findings.

Called by `cli/commands/doctor.py` and `mend.py`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from geo_platform.doctor import leftovers
from geo_platform.doctor.claims import (
    Claims,
    Missing,
    ObjectCheck,
    Place,
    finding_of,
    missing_tables,
    read_claims,
)
from geo_platform.doctor.facts import LocalFiles, Orchestrator
from geo_platform.doctor.findings import Diagnosis, DoctorFinding, FindingCode, in_order
from geo_platform.doctor.records import compare_quarantine, unreadable_messages
from geo_platform.doctor.runs import (
    compare_partitions,
    compare_queue,
    compare_runs,
    compare_slots,
    compare_ticks,
    notes_on_runs,
)
from geo_platform.errors import CatalogRejected, ParameterInvalid, PlatformError, SourceNotFound
from geo_platform.ports import BRONZE, SILVER, Catalog, Inventory, ObjectStore

# Called with the kind of thing that is being read, and how many of that kind have been read.
Notify = Callable[[str, int], None]

_NOTIFY_EVERY = 200
# A new object gets a partition, and the partition gets a run, within this time.
_RUN_STARTS_WITHIN = timedelta(minutes=10)


@dataclass(frozen=True)
class DoctorStores:
    """The stores to compare.

    `orchestrator` is None if no job was ever run in this home, or if it could not be opened; runs,
    partitions and pools are then not compared. `unreachable` has (store, reason) for each store
    that could not be opened.
    """

    catalog: Catalog
    objects: ObjectStore
    inventory: Inventory
    files: LocalFiles
    orchestrator: Orchestrator | None
    unreachable: tuple[tuple[str, str], ...] = ()


@dataclass
class _Examination:
    """The state of one comparison.

    `claims` is None if the catalog has not been read. `dead` are unfinished runs whose process is
    gone.
    """

    stores: DoctorStores
    now_utc: datetime
    notify: Notify
    findings: list[DoctorFinding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    compared: Counter[str] = field(default_factory=Counter)
    claims: Claims | None = None
    dead: set[str] = field(default_factory=set)

    @contextmanager
    def reading(self, what: str, uncompared: str) -> Iterator[None]:
        """Turn a PlatformError into a finding, so that the other stores are still compared."""
        self.notify(what, 0)
        try:
            yield
        except PlatformError as error:
            self.findings.append(_unreachable(what, error.message, uncompared, error.remedy))


def examine(
    stores: DoctorStores, *, now_utc: datetime, notify: Notify = lambda what, count: None
) -> Diagnosis:
    """Compare every store that can be reached, and return the findings.

    A store that cannot be read becomes a finding STORE_UNREACHABLE.
    """
    look = _Examination(stores, now_utc, notify)
    look.findings.extend(_unreachable(what, why, what, "") for what, why in stores.unreachable)
    with look.reading("runs", "Runs, pools, sensors and schedules"):
        _runs(look)
    with look.reading("catalog", "What items name"):
        _catalog(look)
    with look.reading("objects", "Items and objects"):
        _objects(look)
    with look.reading("tables", "Items and tables"):
        _tables(look)
    with look.reading("partitions", "Partitions and their items"):
        _partitions(look)
    with look.reading("messages", "Messages"):
        _messages(look)
    with look.reading("quarantine", "Quarantined objects and their records"):
        look.findings.extend(
            compare_quarantine(
                look.stores.objects, partial(_count, look, "quarantined"), now_utc=look.now_utc
            )
        )
    with look.reading("files", "Scratch folders and half-written files"):
        look.findings.extend(leftovers.compare_files(stores.files.descriptions()))
    return Diagnosis(in_order(look.findings), tuple(look.notes), dict(look.compared))


def _runs(look: _Examination) -> None:
    orchestrator = look.stores.orchestrator
    if orchestrator is None:
        return
    runs = list(orchestrator.unfinished_runs())
    look.compared["runs"] = len(runs)
    look.dead = {run.run_id for run in runs if run.is_alive is False}
    look.findings.extend(compare_runs(runs))
    look.notes.extend(notes_on_runs(runs))
    look.findings.extend(compare_slots(orchestrator.slots(), dead=look.dead))
    look.findings.extend(compare_ticks(orchestrator.ticks(), now_utc=look.now_utc))
    look.findings.extend(compare_queue(orchestrator.queue(), now_utc=look.now_utc))


def _catalog(look: _Examination) -> None:
    claims = read_claims(look.stores.catalog)
    look.compared.update(items=claims.items, versions=claims.versions)
    look.findings.extend(
        DoctorFinding(
            FindingCode.ITEM_UNREADABLE,
            "the catalog",
            f"{fault} The document's objects and tables are unknown, so no leftovers are reported.",
            "Needs a person: repair the document, or remove it and ingest its source again.",
        )
        for fault in claims.unreadable
    )
    look.claims = claims


def _read_again(look: _Examination) -> Claims:
    """Return the claims as they are now. Raises CatalogRejected: an item cannot be read."""
    claims = read_claims(look.stores.catalog)
    if claims.unreadable:
        raise CatalogRejected(" ".join(claims.unreadable), remedy="Run the command again.")
    return claims


def _objects(look: _Examination) -> None:
    claims = look.claims
    if claims is None:
        return
    check, unreferenced = ObjectCheck(claims), leftovers.UnreferencedObjects(claims)
    for stored in look.stores.objects.list(SILVER):
        check.add(stored)
        unreferenced.add(stored)
        _count(look, "objects")
    for missing in check.missing():
        look.findings.extend(_confirmed(look, missing))
    if unreferenced.folders and not claims.unreadable:
        claims_now = _read_again(look)
        folders = [
            folder
            for folder in unreferenced.folders.values()
            if folder.name not in claims_now.folders
        ]
        ended = _ended(look, {run_id for folder in folders for run_id in folder.run_ids})
        look.findings.extend(leftovers.compare_folders(folders, ended, now_utc=look.now_utc))


def _confirmed(look: _Examination, missing: Missing) -> Iterator[DoctorFinding]:
    """Read the item again and yield a finding for what is still missing."""
    for item in _present(look, missing.place, missing.kept_of):
        claims = Claims()
        claims.add(missing.place, item, kept_of=missing.kept_of)
        check = ObjectCheck(claims)
        for key in claims.objects:
            try:
                stored = look.stores.objects.stat(SILVER, key)
            except (SourceNotFound, ParameterInvalid):
                continue
            check.add(stored, is_being_replaced=_is_running(look, stored.metadata.get("run_id")))
        for still in check.missing():
            yield from finding_of(still)


def _is_running(look: _Examination, run_id: str | None) -> bool:
    """Return whether the run is known to be running. It may publish its item soon."""
    return run_id is not None and _ended(look, {run_id}).get(run_id) is False


def _tables(look: _Examination) -> None:
    claims = look.claims
    if claims is None:
        return
    tables = list(look.stores.inventory.tables())
    look.compared["tables"] = len(tables)
    for missing in missing_tables(claims, tables):
        look.findings.extend(_confirmed_tables(look, missing))
    unreferenced = [
        table for table in tables if table.version is None or table.version not in claims.tables
    ]
    if unreferenced and not claims.unreadable:
        claims_now, tables_now = _read_again(look), set(look.stores.inventory.tables())
        ended = _ended(look, {table.run_id for table in unreferenced if table.run_id is not None})
        existing = [table for table in unreferenced if table in tables_now]
        look.findings.extend(
            leftovers.compare_tables(existing, claims_now, ended, now_utc=look.now_utc)
        )


def _confirmed_tables(look: _Examination, missing: Missing) -> Iterator[DoctorFinding]:
    for item in _present(look, missing.place, missing.kept_of):
        claims = Claims()
        claims.add(missing.place, item, kept_of=missing.kept_of)
        for still in missing_tables(claims, look.stores.inventory.tables()):
            yield from finding_of(still)


def _present(look: _Examination, place: Place, kept_of: str | None) -> Iterator[dict[str, object]]:
    """Yield the published item, or with `kept_of` the kept versions that this run published."""
    if kept_of is None:
        item = look.stores.catalog.item(*place)
        if item is not None:
            yield item
        return
    for version in look.stores.catalog.versions(*place):
        if version.run_id == kept_of:
            yield dict(version.item)


def _ended(look: _Examination, run_ids: set[str]) -> dict[str, bool]:
    """Return whether each run has ended, without runs that the orchestrator does not know.

    A run whose process is gone counts as ended, whatever its status.
    """
    orchestrator = look.stores.orchestrator
    known = dict(orchestrator.ended(run_ids)) if orchestrator is not None else {}
    return {run_id: has_ended or run_id in look.dead for run_id, has_ended in known.items()}


def _partitions(look: _Examination) -> None:
    orchestrator, claims = look.stores.orchestrator, look.claims
    if orchestrator is None or claims is None or claims.unreadable:
        return
    without_item = []
    for definition, key in orchestrator.partitions():
        _count(look, "partitions")
        if key not in claims.sources:
            without_item.append((definition, key))
    facts = [orchestrator.partition(definition, key) for definition, key in without_item]
    doubtful = [fact for fact in facts if fact.status is None or fact.status == "SUCCESS"]
    if not doubtful:
        return
    claims_now = _read_again(look)
    doubtful = [fact for fact in doubtful if fact.key not in claims_now.sources]
    withdrawn = orchestrator.withdrawn_items()
    reported = [(fact.item, fact.at_utc) for fact in doubtful if fact.item is not None]
    accounted = claims_now.places | {
        item for item, at_utc in reported if _was_withdrawn(look, item, at_utc, withdrawn)
    }
    arrived = {
        fact.key: arrived_at_utc(look.stores.objects, fact.key)
        for fact in doubtful
        if fact.status is None
    }
    settled = [
        fact for fact in doubtful if not _has_just_arrived(arrived.get(fact.key), look.now_utc)
    ]
    sources = {key for key, at_utc in arrived.items() if at_utc is not None}
    look.findings.extend(compare_partitions(settled, accounted=accounted, sources=sources))


def _was_withdrawn(
    look: _Examination, item: Place, at_utc: datetime | None, withdrawn: Mapping[Place, datetime]
) -> bool:
    """Return whether a run withdrew the item since `at_utc`, or the catalog records it."""
    since = withdrawn.get(item)
    return (
        since is not None and (at_utc is None or since >= at_utc)
    ) or look.stores.inventory.was_withdrawn(*item)


def arrived_at_utc(objects: ObjectStore, key: str) -> datetime | None:
    """Return when the object of a partition was written, or None if there is no such object.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    try:
        return objects.stat(BRONZE, key).last_modified_utc
    except (SourceNotFound, ParameterInvalid):  # not every partition key is a valid object name
        return None


def _has_just_arrived(at_utc: datetime | None, now_utc: datetime) -> bool:
    return at_utc is not None and now_utc - at_utc < _RUN_STARTS_WITHIN


def _messages(look: _Examination) -> None:
    for finding in unreadable_messages(look.stores.objects, partial(_count, look, "messages")):
        look.findings.append(finding)


def _count(look: _Examination, what: str) -> None:
    look.compared[what] += 1
    if look.compared[what] % _NOTIFY_EVERY == 0:
        look.notify(what, look.compared[what])


def _unreachable(what: str, why: str, uncompared: str, remedy: str) -> DoctorFinding:
    return DoctorFinding(
        FindingCode.STORE_UNREACHABLE,
        what,
        f"{why} {uncompared} were not compared." if uncompared != what else f"{why}",
        f"Needs a person. {remedy}".strip(),
    )
