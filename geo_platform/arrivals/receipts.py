"""Receipts: a receipt is a stored object that records which run was requested for an arrival.

It prevents a second run for the same arrival (a complete source in a watched container). A sensor
writes the receipt before it requests the run, with a conditional put: if two sensors find an object
at the same moment, only one put succeeds. If the sensor's process dies before the request, no run
has the run key of the receipt. So a receipt older than `VOID_AFTER_S` is void unless Dagster has a
run with its run key, and another sensor may replace it.

A client that submits an object to the HTTP API writes the receipt of the watch that would have
found the object. The run may be launched much later, when Dagster is available again; until then
the receipt names the stored submission that waits to be launched.

Called by `api/jobs/intake.py`, `orchestrator/refused_arrivals.py` and
`orchestrator/run_requests.py`.
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

# Longer than it takes from writing a receipt in a sensor's tick until Dagster has created the run.
# If Dagster needs longer, an arrival may get a second run, which finds the result published.
VOID_AFTER_S = 45

_THREADS = 8
_FOLDER = "arrivals"
A = TypeVar("A")


@dataclass(frozen=True)
class Receipt:
    """The content of a receipt, and the etag of the stored receipt."""

    request: RunAsked
    etag: str

    def is_void(self, now_utc: datetime) -> bool:
        """Return whether the receipt is void if Dagster has no run with its run key."""
        return now_utc - self.request.asked_at_utc > timedelta(seconds=VOID_AFTER_S)


def receipt_place(key: str) -> str:
    """Return the key of the receipt in the container of messages. `key` is the arrival's key."""
    return f"{_FOLDER}/{key[:2]}/{key}.json"


def read_receipt_contents(objects: ObjectStore, arrival_keys: Iterable[str]) -> dict[str, RunAsked]:
    """Return the contents of the existing receipts by arrival key.

    Each receipt takes one request to the store; `read_receipts` takes two.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    Raises ContractError: a receipt cannot be read.
    """

    def read(key: str) -> RunAsked | None:
        try:
            return load_message(objects.read_bytes(MESSAGES, receipt_place(key)), RunAsked)
        except SourceNotFound:
            return None

    return _read_parallel(read, arrival_keys)


def read_receipts(objects: ObjectStore, arrival_keys: Iterable[str]) -> dict[str, Receipt]:
    """Return the existing receipts by arrival key, with their etags, which replacing them needs.

    The etag is read before the content, so that replacing a receipt at this etag never overwrites
    content that was not read.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    Raises ContractError: a receipt cannot be read.
    """

    def read(key: str) -> Receipt | None:
        place = receipt_place(key)
        try:
            etag = objects.stat(MESSAGES, place).reference.etag
            return Receipt(load_message(objects.read_bytes(MESSAGES, place), RunAsked), etag)
        except SourceNotFound:
            return None

    return _read_parallel(read, arrival_keys)


def _read_parallel(read: Callable[[str], A | None], arrival_keys: Iterable[str]) -> dict[str, A]:
    keys = list(arrival_keys)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="receipts") as readers:
        return {
            key: value
            for key, value in zip(keys, readers.map(read, keys), strict=True)
            if value is not None
        }


def still_to_be_launched(objects: ObjectStore, requests: Mapping[str, RunAsked]) -> set[str]:
    """Return the arrival keys whose client submission still waits to be launched.

    `requests` maps arrival keys to the contents of their receipts. Call this before querying
    Dagster for the runs: if the submission is gone from the store, its run exists in Dagster.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    waiting = _read_parallel(
        lambda key: stat_or_none(objects, MESSAGES, requests[key].waits_at),
        [key for key, request in requests.items() if request.waits_at],
    )
    return set(waiting)


def write_receipt_for_client(
    objects: ObjectStore,
    arrival: Arrival,
    watch: Watch,
    *,
    run_key: str,
    waits_at: str,
    now_utc: datetime,
) -> bool:
    """Write the receipt for a client's run, so that the watch requests no run for the arrival.

    `waits_at` is the key of the stored submission. Return False if there is a receipt already.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    request = RunAsked(
        uri=arrival.uri,
        etag=arrival.etag,
        watch=watch.name,
        run_key=run_key,
        asked_at_utc=now_utc,
        waits_at=waits_at,
    )
    return _put(objects, arrival_key(arrival, watch.parameters), request, replaced_etag="")


def write_receipts(
    objects: ObjectStore,
    arrivals: Mapping[str, Arrival],
    void: Mapping[str, Receipt],
    *,
    watch: str,
    run_key: str,
    now_utc: datetime,
) -> set[str]:
    """Write a receipt for each arrival, all with the same run key.

    `arrivals` and `void` are by arrival key. A void receipt is replaced. Return the arrival keys
    whose receipt was written; for the others, another process has written a receipt meanwhile.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """

    def write(entry: tuple[str, Arrival]) -> str | None:
        key, arrival = entry
        request = RunAsked(
            uri=arrival.uri, etag=arrival.etag, watch=watch, run_key=run_key, asked_at_utc=now_utc
        )
        replaced_etag = void[key].etag if key in void else ""
        return key if _put(objects, key, request, replaced_etag=replaced_etag) else None

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="receipts") as writers:
        return {key for key in writers.map(write, arrivals.items()) if key is not None}


def _put(objects: ObjectStore, key: str, request: RunAsked, *, replaced_etag: str) -> bool:
    """Write the receipt, and return False if another process has written one meanwhile.

    With an empty `replaced_etag` there must be no receipt; else the receipt must have that etag.
    """
    try:
        objects.put_bytes(
            MESSAGES,
            receipt_place(key),
            dump_message(request),
            metadata={"run_key": request.run_key},
            only_if_etag=replaced_etag,
        )
    except Conflict:
        return False
    return True
