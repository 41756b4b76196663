"""Receipts: which run was asked for because of an arrival, so that nobody asks twice.

What belongs here: where receipts lie, reading and taking many at once. What stays out: whether their runs exist (Dagster says).

A receipt is taken before its run is asked for, and by one only: two sensors that find an object at the same moment both put, and the
store lets the first one. Where the asking process dies in between, no run has the receipt's run key, and once the receipt is older
than `VOID_AFTER_S` it counts for nothing.

A client's submission takes the same receipt, for the watch that would have found the object. Its run may be launched much later, when
Dagster answers again; that it is still to be launched is an object of its own, which the receipt names.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from geo_platform.arrivals.arrival import Arrival, arrival_key
from geo_platform.arrivals.watch import Watch
from geo_platform.contracts.arrival import RunAsked
from geo_platform.contracts.stored import dump_message, load_message
from geo_platform.errors import Conflict, SourceNotFound
from geo_platform.ports import MESSAGES, ObjectStore, stat_or_none

# Longer than Dagster takes from the end of a tick to the runs that it asked for; a second run of an
# arrival would find its work done.
VOID_AFTER_S = 45

_AT_ONCE = 8
_FOLDER = "arrivals"
A = TypeVar("A")


@dataclass(frozen=True)
class Receipt:
    """What it says, and the etag at which it says so."""

    asked: RunAsked
    etag: str

    def is_void(self, now_utc: datetime) -> bool:
        """Whether it is no longer to be waited for, where its run does not exist."""
        return now_utc - self.asked.asked_at_utc > timedelta(seconds=VOID_AFTER_S)


def receipt_place(key: str) -> str:
    """Where the receipt of an arrival key lies in the container of messages."""
    return f"{_FOLDER}/{key[:2]}/{key}.json"


def read_asked(objects: ObjectStore, arrival_keys: Iterable[str]) -> dict[str, RunAsked]:
    """What the receipts say that there are, by arrival key: one request each. Raises the store's faults, and ContractError."""

    def read(key: str) -> RunAsked | None:
        try:
            return load_message(objects.read_bytes(MESSAGES, receipt_place(key)), RunAsked)
        except SourceNotFound:
            return None

    return _each(read, arrival_keys)


def read_receipts(objects: ObjectStore, arrival_keys: Iterable[str]) -> dict[str, Receipt]:
    """Those that there are, by arrival key, so that they can be taken over: at their etag they say that, or have said something older.

    Raises the store's faults, and ContractError where one cannot be read.
    """

    def read(key: str) -> Receipt | None:
        place = receipt_place(key)
        try:
            etag = objects.stat(MESSAGES, place).reference.etag
            return Receipt(load_message(objects.read_bytes(MESSAGES, place), RunAsked), etag)
        except SourceNotFound:
            return None

    return _each(read, arrival_keys)


def _each(read: Callable[[str], A | None], arrival_keys: Iterable[str]) -> dict[str, A]:
    keys = list(arrival_keys)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="receipts") as readers:
        return {
            key: found
            for key, found in zip(keys, readers.map(read, keys), strict=True)
            if found is not None
        }


def still_to_be_launched(objects: ObjectStore, asked: Mapping[str, RunAsked]) -> set[str]:
    """Those, by arrival key, of which a client was told that their run will be: it is launched as soon as Dagster answers.

    To be asked before Dagster is asked for the runs: what lies here no more by then has its run. Raises the store's faults.
    """

    waiting = _each(
        lambda key: stat_or_none(objects, MESSAGES, asked[key].waits_at),
        [key for key, one in asked.items() if one.waits_at],
    )
    return set(waiting)


def take_for_client(
    objects: ObjectStore,
    arrival: Arrival,
    watch: Watch,
    *,
    run_key: str,
    waits_at: str,
    now_utc: datetime,
) -> bool:
    """A client's run takes the arrival, which the watch leaves alone then. False where the watch was faster. Raises the store's faults."""
    asked = RunAsked(
        uri=arrival.uri,
        etag=arrival.etag,
        watch=watch.name,
        run_key=run_key,
        asked_at_utc=now_utc,
        waits_at=waits_at,
    )
    return _put(objects, arrival_key(arrival, watch.parameters), asked, over="")


def take_receipts(
    objects: ObjectStore,
    arrivals: Mapping[str, Arrival],
    void: Mapping[str, Receipt],
    *,
    watch: str,
    run_key: str,
    now_utc: datetime,
) -> set[str]:
    """Take one for each arrival, by arrival key; over a void one where there is one. Returns those that nobody else took meanwhile.

    Raises the store's faults.
    """

    def take(entry: tuple[str, Arrival]) -> str | None:
        key, arrival = entry
        asked = RunAsked(
            uri=arrival.uri, etag=arrival.etag, watch=watch, run_key=run_key, asked_at_utc=now_utc
        )
        return (
            key if _put(objects, key, asked, over=void[key].etag if key in void else "") else None
        )

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="receipts") as takers:
        return {key for key in takers.map(take, arrivals.items()) if key is not None}


def _put(objects: ObjectStore, key: str, asked: RunAsked, *, over: str) -> bool:
    """Over nothing or over what lies there at that etag. False where somebody else was faster."""
    try:
        objects.put_bytes(
            MESSAGES,
            receipt_place(key),
            dump_message(asked),
            metadata={"run_key": asked.run_key},
            only_if_etag=over,
        )
    except Conflict:
        return False
    return True
