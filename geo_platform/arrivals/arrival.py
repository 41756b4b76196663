"""An arrival: one source, with the files that belong to it, at one state of its bytes; and the name that this has for good.

What belongs here: the value and its key. What stays out: when it is whole (`readiness.py`), which run takes it (`plan.py`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from geo_platform.ports import StoredObject
from geo_platform.source.arrival import combined_etag


@dataclass(frozen=True)
class Arrival:
    """A source that is whole. `etag` is that of the main object and its sidecars together."""

    container: str
    key: str
    uri: str
    etag: str
    size_bytes: int
    last_modified_utc: datetime
    sidecars: tuple[str, ...] = ()


def arrival_of(main: StoredObject, sidecars: tuple[StoredObject, ...] = ()) -> Arrival:
    """Sizes are added up; the latest time counts."""
    parts = (main, *sidecars)
    return Arrival(
        container=main.reference.container,
        key=main.reference.key,
        uri=main.reference.uri,
        etag=combined_etag(main.reference, tuple(part.reference for part in sidecars)),
        size_bytes=sum(part.reference.size_bytes for part in parts),
        last_modified_utc=max(part.last_modified_utc for part in parts),
        sidecars=tuple(part.reference.key for part in sidecars),
    )


def arrival_key(arrival: Arrival, parameters: Mapping[str, Any]) -> str:
    """32 hex digits over uri, etag and recipe: the same bytes with the same recipe have the same, new bytes never have."""
    text = json.dumps(
        [arrival.uri, arrival.etag, parameters], sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def group_key(keys: list[str]) -> str:
    """Of a run that takes several arrivals: over their keys, in whatever order."""
    return hashlib.sha256("".join(sorted(keys)).encode()).hexdigest()[:32]
