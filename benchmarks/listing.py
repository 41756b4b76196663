"""Measure a tick that finds nothing new, by events and by listing, at any number of old objects.

Part "listing" of `make bench`: 20,000 blobs in an Azurite, and a million simulated ones behind the
listing port. To make objects an hour old, Azurite runs with its clock an hour behind while they are
put. `arrivals.py` measures how soon a run is requested.
"""

import json
import os
import secrets
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient
from pydantic import SecretStr

from benchmarks.data import ROOT
from benchmarks.measure import spread
from deploy.local.contents import CONTAINERS, make_containers
from deploy.local.packages import install_missing
from deploy.local.processes import free_port
from deploy.local.servers import ACCOUNT, start_azurite
from geo_platform.arrivals.arrival import arrival_key, arrival_of
from geo_platform.arrivals.listing import PAGE_OF_SERVICE, ListingCursor, look
from geo_platform.arrivals.receipts import receipt_place, write_receipts
from geo_platform.arrivals.watch import Watch
from geo_platform.orchestrator.arrival_events import EventIntake, EventsCursor
from geo_platform.orchestrator.arrival_listing import BUDGET_S, KnownArrivals, listing_tick
from geo_platform.ports import BRONZE, MESSAGES, MessageQueue, ObjectPage, ObjectStore
from geo_platform.runs import RUN_KEY_TAG
from geo_platform.settings import Profile, Settings
from geo_platform.storage.stores import account_url, open_objects, open_queue
from tests.support.queues import announce
from tests.support.simulated_listing import SimulatedListing

REAL = int(os.environ.get("BENCH_BLOBS", "20000"))
SIMULATED = int(os.environ.get("BENCH_SIMULATED", "1000000"))
_TICKS = 30
_FILES_PER_RUN = 200
_QUEUE = "arrivals"
_WATCH = Watch(name="bronze")
_CLOCK = ROOT / "tests" / "support" / "clock_ahead.cjs"
# Dagster ends a tick that takes longer.
_TICK_LIMIT_S = 60


class _SimulatedListingStore:
    """The real store, except that it lists a million simulated objects."""

    def __init__(self, real: ObjectStore) -> None:
        self._real = real
        self._listing = SimulatedListing(SIMULATED)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def page(
        self,
        container: str,
        prefix: str = "",
        *,
        after: str | None = None,
        limit: int = PAGE_OF_SERVICE,
    ) -> ObjectPage:
        return self._listing.page(container, prefix, after=after, limit=limit)


@dataclass
class _Stores:
    folder: Path
    instance: dg.DagsterInstance
    settings: Settings
    restart: Callable[[int, Callable[[], None]], None]
    blobs: BlobServiceClient

    @property
    def objects(self) -> ObjectStore:
        return open_objects(self.settings)

    @property
    def queue(self) -> MessageQueue:
        found = open_queue(self.settings)
        assert found is not None
        return found


def listing() -> list[str]:
    with _stores() as stores:
        by_events = [_by_events(stores, "0", stores.objects)]
        _fill(stores)
        by_events.append(_by_events(stores, f"{REAL:,} on Azurite", stores.objects))
        by_events.append(
            _by_events(
                stores, f"{SIMULATED:,} behind the port", _SimulatedListingStore(stores.objects)
            )
        )  # type: ignore[arg-type]
        by_listing, page_s = _by_listing(stores)
    return [
        *_events_report(by_events),
        *_listing_report([*by_listing, *_simulated(page_s)], page_s),
    ]


@dataclass(frozen=True)
class _Event:
    objects: str
    nothing_s: list[float]
    one_s: list[float]


def _by_events(stores: _Stores, what: str, objects: ObjectStore) -> _Event:
    """Measure polls of an empty queue, and ticks with one new object.

    A tick polls four times a second.
    """
    intake = EventIntake(
        stores.instance, stores.queue, objects, [_WATCH], account_url=account_url(stores.settings)
    )
    queue = QueueServiceClient.from_connection_string(
        stores.settings.blob_connection_string.get_secret_value()
    ).get_queue_client(_QUEUE)  # type: ignore[union-attr]
    nothing_s, one_s = [], []
    with queue:
        for _ in range(_TICKS):
            nothing_s.append(_seconds(lambda: intake.tick(EventsCursor(), tick_s=0)))
            blob = stores.blobs.get_blob_client(BRONZE, f"new/{secrets.token_hex(8)}.tif")
            blob.upload_blob(b"II*\0" + secrets.token_bytes(64))
            announce(queue, blob)
            one_s.append(_seconds(lambda: _expect_one_request(intake)))
            queue.clear_messages()
            blob.delete_blob()
    return _Event(what, nothing_s, one_s)


def _expect_one_request(intake: EventIntake) -> None:
    if len(intake.tick(EventsCursor(), tick_s=0).plan.requests) != 1:
        raise RuntimeError("a new object did not get exactly one run request")


def _events_report(measured: Sequence[_Event]) -> list[str]:
    rows = [
        f"| {one.objects} | {spread([1000 * s for s in one.nothing_s])} "
        f"| {spread([1000 * s for s in one.one_s])} |"
        for one in measured
    ]
    first, last = measured[0], measured[-1]
    ratio = statistics.median(last.nothing_s) / statistics.median(first.nothing_s)
    return [
        "## Listing: a tick at any number of old objects",
        "",
        "| by events: old objects | nothing new, ms | one new object, run requested, ms |",
        "|---|---|---|",
        *rows,
        "",
        f"**Nothing new, at {last.objects} / at none: {ratio:.2f}** (target: the same cost at any "
        f"number). Median (min to max) of {_TICKS}.",
        "",
    ]


@dataclass(frozen=True)
class _Pass:
    what: str
    ticks: list[float]
    objects: int
    cursor_bytes: int
    note: str = ""


def _by_listing(stores: _Stores) -> tuple[list[_Pass], float]:
    known, objects = KnownArrivals(), stores.objects
    what = f"{REAL:,} on Azurite: a first pass, all known by their receipts"
    first, cursor = _whole_pass(stores.instance, objects, ListingCursor(), known, what)
    again, cursor = _whole_pass(
        stores.instance, objects, cursor, known, f"{REAL:,} on Azurite: nothing new"
    )
    page_s = statistics.median(
        _seconds(lambda: objects.page(BRONZE, limit=PAGE_OF_SERVICE)) for _ in range(5)
    )
    return [first, again], page_s


def _whole_pass(
    instance: dg.DagsterInstance,
    objects: ObjectStore,
    cursor: ListingCursor,
    known: KnownArrivals,
    what: str,
) -> tuple[_Pass, ListingCursor]:
    ticks, seen = [], 0
    while True:
        began = time.perf_counter()
        tick = listing_tick(instance, objects, _WATCH, cursor, known)
        ticks.append(time.perf_counter() - began)
        cursor = tick.cursor
        seen += tick.objects
        if tick.plan.requests:
            raise RuntimeError("a run was requested for a known object")
        if cursor.pass_began_utc is None:
            return _Pass(what, ticks, seen, len(cursor.model_dump_json())), cursor


def _simulated(page_s: float) -> list[_Pass]:
    """Measure a pass after the first at full speed, then ticks with pages as slow as Azurite's."""
    store, watch = SimulatedListing(SIMULATED), Watch(name="bronze", existing=False)
    cursor = look(store, watch, ListingCursor(), budget_s=1e9).cursor  # type: ignore[arg-type]
    passes = []
    for what, waits in (
        ("nothing new, pages at once", False),
        ("nothing new, a tick with pages as slow as Azurite's", True),
    ):
        ticks, seen = [], 0
        store.before_page = (lambda _: time.sleep(page_s)) if waits else (lambda _: None)
        while True:
            began = time.perf_counter()
            found = look(store, watch, cursor, budget_s=BUDGET_S, most_arrivals=PAGE_OF_SERVICE)  # type: ignore[arg-type]
            ticks.append(time.perf_counter() - began)
            cursor = found.cursor
            seen += found.objects
            if found.is_whole or waits:
                break
        note = "" if found.is_whole else f"; {-(-SIMULATED // seen)} such ticks for a pass"
        passes.append(
            _Pass(
                f"{SIMULATED:,} behind the port: {what}",
                ticks,
                seen,
                len(cursor.model_dump_json()),
                note,
            )
        )
    return passes


def _listing_report(passes: Sequence[_Pass], page_s: float) -> list[str]:
    rows = [
        f"| {one.what} | {one.objects:,} in {len(one.ticks)} tick(s){one.note} "
        f"| {max(one.ticks):.1f} | {one.cursor_bytes:,} |"
        for one in passes
    ]
    most_s = max(max(one.ticks) for one in passes)
    return [
        "| by listing | objects listed | longest tick, s | cursor, bytes |",
        "|---|---|---|---|",
        *rows,
        "",
        f"**Longest tick: {most_s:.1f} s** (target: under Dagster's {_TICK_LIMIT_S} s; the listing "
        f"itself within its budget of {BUDGET_S:.0f} s plus a page). "
        f"A page of {PAGE_OF_SERVICE:,} took {page_s:.2f} s on Azurite.",
        "",
    ]


def _fill(stores: _Stores) -> None:
    """Fill the store with hour-old blobs, each with a receipt of an existing run.

    Puts one blob, and one receipt per run; the others are copies of Azurite's records under other
    names. To put each by itself took longer than the rest of the benchmark.
    """
    stores.restart(-3600, lambda: None)
    objects = stores.objects
    first = objects.put_bytes(BRONZE, _old_key(0), b"II*\0", metadata={})
    arrivals = []
    for number in range(REAL):
        uri, etag = (
            first.reference.uri.replace(_old_key(0), _old_key(number)),
            f"0x{number + 2**48:X}" if number else first.reference.etag,
        )
        reference = first.reference.model_copy(
            update={"key": _old_key(number), "uri": uri, "etag": etag}
        )
        arrivals.append(arrival_of(replace(first, reference=reference)))
    copies = [(BRONZE, _old_key(0), arrival.key, arrival.etag) for arrival in arrivals[1:]]
    for start in range(0, REAL, _FILES_PER_RUN):
        run_key = f"run-{start}"
        one, *others = [
            arrival_key(arrival, {}) for arrival in arrivals[start : start + _FILES_PER_RUN]
        ]
        write_receipts(
            objects,
            {one: arrivals[start]},
            {},
            watch=_WATCH.name,
            run_key=run_key,
            now_utc=first.last_modified_utc,
        )
        stores.instance.add_run(
            dg.DagsterRun(
                job_name="ingest_files",
                tags={RUN_KEY_TAG: run_key},
                status=dg.DagsterRunStatus.SUCCESS,
            )
        )
        copies += [
            (MESSAGES, receipt_place(one), receipt_place(other), f"0x{2**49 + len(copies):X}")
            for other in others
        ]
    stores.restart(
        0, lambda: _copy_records(stores.folder / "azurite" / "__azurite_db_blob__.json", copies)
    )


def _old_key(number: int) -> str:
    return f"old/{number // 1000:03}/{number:06}.tif"


def _copy_records(database: Path, copies: Sequence[tuple[str, str, str, str]]) -> None:
    """Copy a blob's record as if the copy had been put at the same time with the same bytes.

    `copies` holds (container, name, name of the copy, etag of the copy).
    """
    written = json.loads(database.read_text("utf-8"))
    blobs = next(
        collection
        for collection in written["collections"]
        if collection["name"] == "$BLOBS_COLLECTION$"
    )
    by_name = {(record["containerName"], record["name"]): record for record in blobs["data"]}
    for container, name, copy, etag in copies:
        record = by_name[container, name]
        blobs["maxId"] += 1
        properties = {**record["properties"], "etag": f'"{etag}"'}
        blobs["data"].append(
            {**record, "name": copy, "properties": properties, "$loki": blobs["maxId"]}
        )
    for index in blobs["binaryIndices"].values():
        index["values"] = sorted(
            range(len(blobs["data"])),
            key=lambda place, name=index["name"]: blobs["data"][place][name],
        )
    database.write_text(json.dumps(written), encoding="utf-8")


@contextmanager
def _stores() -> Iterator[_Stores]:
    install_missing(lambda _: None)
    folder = Path("/var/tmp") / f"geo-platform-bench-{secrets.token_hex(4)}"  # noqa: S108
    folder.mkdir(mode=0o700)
    blob_port, queue_port, key = (
        free_port(),
        free_port(),
        "Z2VvLXBsYXRmb3JtLWJlbmNobWFyay1vZi1saXN0aW5nLi4u",
    )
    running: list[Any] = []

    def restart(ahead_s: int, meanwhile: Callable[[], None]) -> None:
        for process in running:
            process.terminate()
            process.wait(60)
        meanwhile()
        os.environ.update(NODE_OPTIONS=f"--require={_CLOCK}", CLOCK_AHEAD_S=str(ahead_s))
        running[:] = [
            start_azurite(
                folder / "azurite", blob_port=blob_port, queue_port=queue_port, account_key=key
            )
        ]
        for name in ("NODE_OPTIONS", "CLOCK_AHEAD_S"):
            del os.environ[name]

    connection = (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={key};"
        f"BlobEndpoint=http://127.0.0.1:{blob_port}/{ACCOUNT};"
        f"QueueEndpoint=http://127.0.0.1:{queue_port}/{ACCOUNT};"
    )
    try:
        restart(0, lambda: None)
        make_containers(connection, CONTAINERS)
        settings = Settings(  # type: ignore[call-arg]
            profile=Profile.production,
            blob_connection_string=SecretStr(connection),
            arrivals_queue=_QUEUE,
            home=folder / "home",
        )
        QueueServiceClient.from_connection_string(connection).create_queue(_QUEUE)
        with (
            dg.DagsterInstance.ephemeral() as instance,
            BlobServiceClient.from_connection_string(connection) as blobs,
        ):
            yield _Stores(folder, instance, settings, restart, blobs)
    finally:
        for process in running:
            process.kill()
            process.wait(60)
        shutil.rmtree(folder)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
