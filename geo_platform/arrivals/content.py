"""What an arrival is by the beginning of its bytes: which chain takes it, and whether a name that says nothing is a source's.

What belongs here: asking the door (`source/sniff.py`) without fetching a file. What stays out: refusing, which its run does.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from io import SEEK_END
from pathlib import Path

from geo_platform.arrivals.arrival import Arrival, arrival_of
from geo_platform.contracts.arrival import SourceKind
from geo_platform.errors import InputRefused, LimitExceeded, SourceEmpty, UnsupportedFormat
from geo_platform.ports import ObjectStore, StoredObject
from geo_platform.source.content import StoredContent
from geo_platform.source.formats import FORMATS
from geo_platform.source.sidecars import format_by_name
from geo_platform.source.sniff import detect_content

NEITHER = "Neither its name nor its content is of a supported format."
_AT_ONCE = 8


class _NeedsWholeFileError(Exception):
    """More than a look would be needed. Of what is recognised only SQLite and Parquet are opened as files: vector data, both."""


def kind_of_arrival(
    objects: ObjectStore, arrival: Arrival, *, member: str | None = None
) -> SourceKind:
    """By content, as its run will see it; by its name where the content is refused or gone, which its run then says with the reason;
    vector where the name does not say either.

    `member` is the dataset meant within an archive. Raises the store's faults.
    """
    try:
        return _kind(objects, arrival, arrival.sidecars, member)
    except _NeedsWholeFileError:
        return SourceKind.vector
    except (InputRefused, LimitExceeded):
        named = format_by_name(arrival.key)
        return FORMATS[named].kind if named is not None else SourceKind.vector


def arrival_by_content(objects: ObjectStore, stored: StoredObject) -> Arrival | None:
    """The arrival of an object whose name says nothing, where its content is of a supported format or a broken one.

    Raises the store's faults.
    """
    arrival = arrival_of(stored)
    try:
        _kind(objects, arrival, (), None)
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
    """Those of them that are sources, and (key, reason) of the others. Raises the store's faults."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sniff") as pool:
        found = list(pool.map(lambda stored: arrival_by_content(objects, stored), unnamed))
    left = [
        (stored.reference.key, NEITHER)
        for stored, arrival in zip(unnamed, found, strict=True)
        if arrival is None
    ]
    return [arrival for arrival in found if arrival is not None], left


def _kind(
    objects: ObjectStore, arrival: Arrival, sidecars: Sequence[str], member: str | None
) -> SourceKind:
    """At whatever etag the object is now: where it was replaced, its own arrival follows."""
    with objects.open(arrival.container, arrival.key) as stream:
        content = StoredContent(stream, stream.seek(0, SEEK_END), arrival.key, _whole_file)
        return detect_content(content, sidecars=sidecars, member=member).kind


def _whole_file() -> AbstractContextManager[Path]:
    raise _NeedsWholeFileError
