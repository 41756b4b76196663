"""Asking every store what it holds, and comparing. Nothing is changed.

What belongs here: the order of asking, looking again before something is said, and what is compared where a store does not
answer. What stays out: the comparisons (`runs.py`, `items.py`, `leftovers.py`, `messages.py`, `quarantine.py`), mending (`mend.py`).

Stores are asked one after the other while runs go on. So the catalog is read before the objects and once more after them
where something seems unnamed, and an item that seems to miss something is read again before it is said.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from geo_platform.doctor import leftovers
from geo_platform.doctor.claims import Claims, Place, read_claims
from geo_platform.doctor.facts import LocalFiles, Orchestrator
from geo_platform.doctor.findings import Diagnosis, DoctorFinding, FindingCode, in_order
from geo_platform.doctor.items import Missing, ObjectCheck, finding_of, missing_tables
from geo_platform.doctor.messages import unreadable_messages
from geo_platform.doctor.quarantine import compare_quarantine
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

# Told what is being looked at and how many of it there were so far.
Notify = Callable[[str, int], None]

_SAID_EVERY = 200
_RUN_COMES_WITHIN = timedelta(minutes=10)


@dataclass(frozen=True)
class DoctorStores:
    """What is compared. `orchestrator` is None where none was ever used here; then runs, partitions and pools have nothing to say.

    `unreachable` are (what, why) of those that could not even be opened.
    """

    catalog: Catalog
    objects: ObjectStore
    inventory: Inventory
    files: LocalFiles
    orchestrator: Orchestrator | None
    unreachable: tuple[tuple[str, str], ...] = ()


@dataclass
class _Examination:
    """One look at everything. `claims` is None as long as the catalog could not be read as a whole."""

    stores: DoctorStores
    now_utc: datetime
    notify: Notify
    findings: list[DoctorFinding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    compared: Counter[str] = field(default_factory=Counter)
    claims: Claims | None = None
    dead: set[str] = field(default_factory=set)

    @contextmanager
    def asking(self, what: str, uncompared: str) -> Iterator[None]:
        """A store that fails is a finding, and the others are compared."""
        self.notify(what, 0)
        try:
            yield
        except PlatformError as error:
            self.findings.append(_unreachable(what, error.message, uncompared, error.remedy))


def examine(
    stores: DoctorStores, *, now_utc: datetime, notify: Notify = lambda what, count: None
) -> Diagnosis:
    """Compare everything that can be reached."""
    look = _Examination(stores, now_utc, notify)
    look.findings.extend(_unreachable(what, why, what, "") for what, why in stores.unreachable)
    with look.asking("runs", "Runs, pools, sensors and schedules"):
        _runs(look)
    with look.asking("catalog", "What items name"):
        _catalog(look)
    with look.asking("objects", "Items and objects"):
        _objects(look)
    with look.asking("tables", "Items and tables"):
        _tables(look)
    with look.asking("partitions", "Partitions and their items"):
        _partitions(look)
    with look.asking("messages", "Messages"):
        _messages(look)
    with look.asking("quarantine", "What lies in quarantine and its records"):
        look.findings.extend(
            compare_quarantine(
                look.stores.objects, partial(_count, look, "quarantined"), now_utc=look.now_utc
            )
        )
    with look.asking("files", "Scratch folders and half-written files"):
        look.findings.extend(leftovers.compare_files(stores.files.left()))
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
            f"{fault} What it names is not known, so nothing is taken for left over.",
            "A person has to: mend the document, or remove it and ingest its source again.",
        )
        for fault in claims.unreadable
    )
    look.claims = claims


def _read_again(look: _Examination) -> Claims:
    """What is named by now. Raises CatalogRejected where some of it cannot be read any more."""
    again = read_claims(look.stores.catalog)
    if again.unreadable:
        raise CatalogRejected(" ".join(again.unreadable), remedy="Give the command again.")
    return again


def _objects(look: _Examination) -> None:
    claims = look.claims
    if claims is None:
        return
    check, unnamed = ObjectCheck(claims), leftovers.UnnamedObjects(claims)
    for stored in look.stores.objects.list(SILVER):
        check.see(stored)
        unnamed.see(stored)
        _count(look, "objects")
    for missing in check.missing():
        look.findings.extend(_confirmed(look, missing))
    if unnamed.folders and not claims.unreadable:
        again = _read_again(look)
        folders = [
            folder for folder in unnamed.folders.values() if folder.name not in again.folders
        ]
        ended = _ended(look, {run_id for folder in folders for run_id in folder.run_ids})
        look.findings.extend(leftovers.compare_folders(folders, ended, now_utc=look.now_utc))


def _confirmed(look: _Examination, missing: Missing) -> Iterator[DoctorFinding]:
    """What the item, as it is now, still does not find."""
    for item in _present(look, missing.place, missing.kept_of):
        claims = Claims()
        claims.add(missing.place, item, kept_of=missing.kept_of)
        check = ObjectCheck(claims)
        for key in claims.objects:
            try:
                stored = look.stores.objects.stat(SILVER, key)
            except (SourceNotFound, ParameterInvalid):
                continue
            check.see(stored, is_being_replaced=_is_at_work(look, stored.metadata.get("run_id")))
        for still in check.missing():
            yield from finding_of(still)


def _is_at_work(look: _Examination, run_id: str | None) -> bool:
    """Then it made the object just now, under the same fingerprint, and its item comes next."""
    return run_id is not None and _ended(look, {run_id}).get(run_id) is False


def _tables(look: _Examination) -> None:
    claims = look.claims
    if claims is None:
        return
    tables = list(look.stores.inventory.tables())
    look.compared["tables"] = len(tables)
    for missing in missing_tables(claims, tables):
        look.findings.extend(_confirmed_tables(look, missing))
    unnamed = [
        table for table in tables if table.version is None or table.version not in claims.tables
    ]
    if unnamed and not claims.unreadable:
        again, there = _read_again(look), set(look.stores.inventory.tables())
        ended = _ended(look, {table.run_id for table in unnamed if table.run_id is not None})
        still = [table for table in unnamed if table in there]
        look.findings.extend(leftovers.compare_tables(still, again, ended, now_utc=look.now_utc))


def _confirmed_tables(look: _Examination, missing: Missing) -> Iterator[DoctorFinding]:
    for item in _present(look, missing.place, missing.kept_of):
        claims = Claims()
        claims.add(missing.place, item, kept_of=missing.kept_of)
        for still in missing_tables(claims, look.stores.inventory.tables()):
            yield from finding_of(still)


def _present(look: _Examination, place: Place, kept_of: str | None) -> Iterator[dict[str, object]]:
    """The item as it is published now, or the versions of it that are kept of this run."""
    if kept_of is None:
        item = look.stores.catalog.item(*place)
        if item is not None:
            yield item
        return
    for version in look.stores.catalog.versions(*place):
        if version.run_id == kept_of:
            yield dict(version.item)


def _ended(look: _Examination, run_ids: set[str]) -> dict[str, bool]:
    """A run whose process is gone has ended, whatever is said of it."""
    orchestrator = look.stores.orchestrator
    known = dict(orchestrator.ended(run_ids)) if orchestrator is not None else {}
    return {run_id: has_ended or run_id in look.dead for run_id, has_ended in known.items()}


def _partitions(look: _Examination) -> None:
    orchestrator, claims = look.stores.orchestrator, look.claims
    if orchestrator is None or claims is None or claims.unreadable:
        return
    unaccounted = []
    for definition, key in orchestrator.partitions():
        _count(look, "partitions")
        if key not in claims.sources:
            unaccounted.append((definition, key))
    facts = [orchestrator.partition(definition, key) for definition, key in unaccounted]
    doubtful = [fact for fact in facts if fact.status is None or fact.status == "SUCCESS"]
    if not doubtful:
        return
    again = _read_again(look)
    doubtful = [fact for fact in doubtful if fact.key not in again.sources]
    withdrawn = orchestrator.withdrawn_items()
    said = [(fact.item, fact.at_utc) for fact in doubtful if fact.item is not None]
    accounted = again.places | {
        item for item, at_utc in said if _was_withdrawn(look, item, at_utc, withdrawn)
    }
    arrived = {
        fact.key: arrived_at_utc(look.stores.objects, fact.key)
        for fact in doubtful
        if fact.status is None
    }
    settled = [fact for fact in doubtful if not _has_just_come(arrived.get(fact.key), look.now_utc)]
    sources = {key for key, at_utc in arrived.items() if at_utc is not None}
    look.findings.extend(compare_partitions(settled, accounted=accounted, sources=sources))


def _was_withdrawn(
    look: _Examination, item: Place, at_utc: datetime | None, withdrawn: Mapping[Place, datetime]
) -> bool:
    """By a run since then, or as the catalog remembers it."""
    since = withdrawn.get(item)
    return (
        since is not None and (at_utc is None or since >= at_utc)
    ) or look.stores.inventory.was_withdrawn(*item)


def arrived_at_utc(objects: ObjectStore, key: str) -> datetime | None:
    """When the object came that the partition of this key is of; None where there is none."""
    try:
        return objects.stat(BRONZE, key).last_modified_utc
    except (SourceNotFound, ParameterInvalid):  # a partition may be called what no object can
        return None


def _has_just_come(at_utc: datetime | None, now_utc: datetime) -> bool:
    """An object comes, then its partition, then its run."""
    return at_utc is not None and now_utc - at_utc < _RUN_COMES_WITHIN


def _messages(look: _Examination) -> None:
    for finding in unreadable_messages(look.stores.objects, partial(_count, look, "messages")):
        look.findings.append(finding)


def _count(look: _Examination, what: str) -> None:
    look.compared[what] += 1
    if look.compared[what] % _SAID_EVERY == 0:
        look.notify(what, look.compared[what])


def _unreachable(what: str, why: str, uncompared: str, remedy: str) -> DoctorFinding:
    return DoctorFinding(
        FindingCode.STORE_UNREACHABLE,
        what,
        f"{why} {uncompared} were not compared." if uncompared != what else f"{why}",
        f"A person has to. {remedy}".strip(),
    )
