"""What an arrival is, by the first bytes of its content, without fetching the file.

It answers which chain takes an arrival, and whether an object with an unknown name is a source. A
source that is refused is refused by its run, with the reason.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from io import SEEK_END
from pathlib import Path

from geo_platform.arrivals.arrival import Arrival, arrival_of
from geo_platform.chains.chain import Chain
from geo_platform.chains.registry import FALLBACK_CHAIN, chain_by_name, chain_for
from geo_platform.errors import InputRefused, LimitExceeded, SourceEmpty, UnsupportedFormat
from geo_platform.ports import ObjectStore, StoredObject
from geo_platform.source.content import StoredContent
from geo_platform.source.sniff import DetectedSource, detect_content

NEITHER = "Neither its name nor its content is of a supported format."
_AT_ONCE = 8


class _NeedsWholeFileError(Exception):
    """Detection needs the whole file. That is so for SQLite and Parquet: both vector data."""


def chain_of_arrival(objects: ObjectStore, arrival: Arrival, *, member: str | None = None) -> Chain:
    """Return the chain that takes the arrival, by its content, as its run will see it.

    If the content is refused or gone, the name decides; the run then says why it is refused.
    `member` is the dataset meant within an archive. Raises the store's errors.
    """
    try:
        return chain_for(_detect(objects, arrival, arrival.sidecars, member))
    except _NeedsWholeFileError:
        return FALLBACK_CHAIN
    except (InputRefused, LimitExceeded):
        return chain_by_name(arrival.key)


def arrival_by_content(objects: ObjectStore, stored: StoredObject) -> Arrival | None:
    """Return the arrival of an object with an unknown name, or None if it is of no known format.

    A broken file of a supported format is an arrival too. Raises the store's errors.
    """
    arrival = arrival_of(stored)
    try:
        _detect(objects, arrival, (), None)
    except _NeedsWholeFileError:
        return arrival
    except (UnsupportedFormat, SourceEmpty):
        return None
    except (InputRefused, LimitExceeded):
        return arrival
    return arrival


def arrivals_by_content(
    objects: ObjectStore, unnamed: Sequence[StoredObject]
) -> tuple[list[Arrival], list[tuple[str, str]]]:
    """Return the arrivals among these objects, and (key, reason) of the others.

    Raises the store's errors.
    """
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sniff") as pool:
        found = list(pool.map(lambda stored: arrival_by_content(objects, stored), unnamed))
    left = [
        (stored.reference.key, NEITHER)
        for stored, arrival in zip(unnamed, found, strict=True)
        if arrival is None
    ]
    return [arrival for arrival in found if arrival is not None], left


def _detect(
    objects: ObjectStore, arrival: Arrival, sidecars: Sequence[str], member: str | None
) -> DetectedSource:
    """Detect at the current etag. An object that was replaced has an arrival of its own."""
    with objects.open(arrival.container, arrival.key) as stream:
        content = StoredContent(stream, stream.seek(0, SEEK_END), arrival.key, _whole_file)
        return detect_content(content, sidecars=sidecars, member=member)


def _whole_file() -> AbstractContextManager[Path]:
    raise _NeedsWholeFileError
