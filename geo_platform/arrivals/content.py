"""Detect the format of an arrival by the first bytes of its content, without fetching the file.

An arrival is a complete source in a watched container. The format decides which chain (the stages
of one job) processes the arrival, and whether an object whose name has no known extension is a
source at all. Nothing is refused here: a run refuses its source, and records the reason.

Used by `api/jobs`, `arrivals` and `orchestrator`.
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

# Why an object is skipped: shown to people.
NO_KNOWN_FORMAT = "Neither its name nor its content is of a supported format."
_THREADS = 8


class _NeedsWholeFileError(Exception):
    """Detection needs the whole file. Only SQLite and Parquet need it, and both are vector data."""


def chain_of_arrival(objects: ObjectStore, arrival: Arrival, *, member: str | None = None) -> Chain:
    """Return the chain that processes the arrival, by its content.

    If the content cannot be used or the object is gone, the file name decides; the run then refuses
    the source with the reason. `member` is the path of the dataset in an archive of several.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    try:
        return chain_for(_detect(objects, arrival, arrival.sidecars, member))
    except _NeedsWholeFileError:
        return FALLBACK_CHAIN
    except (InputRefused, LimitExceeded):
        return chain_by_name(arrival.key)


def arrival_by_content(objects: ObjectStore, stored: StoredObject) -> Arrival | None:
    """Return the arrival of an object whose name has no known extension.

    Return None if the object is empty or its content has no supported format. A broken file of a
    supported format is an arrival: its run refuses it with the reason.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
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


def split_by_content(
    objects: ObjectStore, candidates: Sequence[StoredObject]
) -> tuple[list[Arrival], list[tuple[str, str]]]:
    """Return the arrivals among the candidates, and (key, reason) of each skipped candidate.

    `candidates` are objects whose names have no known extension.
    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="sniff") as pool:
        results = list(pool.map(lambda stored: arrival_by_content(objects, stored), candidates))
    skipped = [
        (stored.reference.key, NO_KNOWN_FORMAT)
        for stored, arrival in zip(candidates, results, strict=True)
        if arrival is None
    ]
    return [arrival for arrival in results if arrival is not None], skipped


def _detect(
    objects: ObjectStore, arrival: Arrival, sidecars: Sequence[str], member: str | None
) -> DetectedSource:
    """Detect the format of the current bytes, which may be newer than the arrival.

    This does no harm: the newer bytes are another arrival.
    """
    with objects.open(arrival.container, arrival.key) as stream:
        content = StoredContent(stream, stream.seek(0, SEEK_END), arrival.key, _whole_file)
        return detect_content(content, sidecars=sidecars, member=member)


def _whole_file() -> AbstractContextManager[Path]:
    raise _NeedsWholeFileError
