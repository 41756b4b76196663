"""Receipts: a stored note of which run was requested for an arrival, so that none is requested
twice.

A receipt is written before its run is requested, with a conditional put: of two sensors that find
an object at the same moment, only the first one succeeds. If the process dies in between, no run
has the receipt's run key, and the receipt is void once it is older than `VOID_AFTER_S`.

A client's submission takes the receipt of the watch that would have found the object. Its run may
be launched much later, when Dagster is available again; the receipt names the stored submission
that still waits.
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

# Longer than Dagster needs from the end of a tick to its requested runs. A second run of an arrival
# would find the work done.
VOID_AFTER_S = 45

_AT_ONCE = 8
_FOLDER = "arrivals"
A = TypeVar("A")


@dataclass(frozen=True)
class Receipt:
    """A receipt and the etag of its object."""

    asked: RunAsked
    etag: str

    def is_void(self, now_utc: datetime) -> bool:
        """Return whether the receipt no longer counts if its run does not exist."""
        return now_utc - self.asked.asked_at_utc > timedelta(seconds=VOID_AFTER_S)


def receipt_place(key: str) -> str:
    """Return the key of a receipt in the container of messages."""
    return f"{_FOLDER}/{key[:2]}/{key}.json"


def read_asked(objects: ObjectStore, arrival_keys: Iterable[str]) -> dict[str, RunAsked]:
    """Return the content of the existing receipts by arrival key, with one request each.

    Raises the store's errors; ContractError: a receipt cannot be read.
    """

    def read(key: str) -> RunAsked | None:
        try:
            return load_message(objects.read_bytes(MESSAGES, receipt_place(key)), RunAsked)
        except SourceNotFound:
            return None

    return _each(read, arrival_keys)


def read_receipts(objects: ObjectStore, arrival_keys: Iterable[str]) -> dict[str, Receipt]:
    """Return the existing receipts with their etags by arrival key, so that they can be replaced.

    The etag is read before the content: replacing at that etag never overwrites newer content.

    Raises the store's errors; ContractError: a receipt cannot be read.
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
    """Return the arrival keys whose submission by a client still waits to be launched.

    Call this before asking Dagster for the runs: a submission that is gone here has its run there.
    Raises the store's errors.
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
    """Take the receipt for a client's run, so that the watch ignores the arrival.

    Return False if the watch was first. Raises the store's errors.
    """
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
    """Take a receipt for each arrival, over a void one if there is one.

    Return the arrival keys that no other process took meanwhile. Raises the store's errors.
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
    """Write the receipt if there is none, or over the one with the etag `over`. False if another
    did.
    """
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
