"""An arrival: one source with its sidecars, at one version of its bytes, and its permanent key.

`readiness.py` decides when a source is complete, `plan.py` which run takes it.
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
    """A complete source. `etag` covers the main object and its sidecars."""

    container: str
    key: str
    uri: str
    etag: str
    size_bytes: int
    last_modified_utc: datetime
    sidecars: tuple[str, ...] = ()


def arrival_of(main: StoredObject, sidecars: tuple[StoredObject, ...] = ()) -> Arrival:
    """Return the arrival of an object and its sidecars: total size, latest modification time."""
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
    """Return 32 hex digits over URI, etag and parameters.

    The same bytes with the same parameters have the same key; new bytes have a new one.
    """
    text = json.dumps(
        [arrival.uri, arrival.etag, parameters], sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def group_key(keys: list[str]) -> str:
    """Return the key of a run that takes several arrivals. The order of `keys` does not matter."""
    return hashlib.sha256("".join(sorted(keys)).encode()).hexdigest()[:32]
