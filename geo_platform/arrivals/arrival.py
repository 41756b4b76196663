"""An arrival: a complete source with its sidecars, at one version of its bytes, and its key.

`readiness.py` decides when a source is complete; `plan.py` decides which run processes the arrival.

Used by `api/jobs`, `arrivals` and `orchestrator`.
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
    """A complete source in a watched container.

    `key` and `uri` name the main object. `etag` is combined from the etags of the main object and
    its sidecars; `size_bytes` is their sum. `sidecars` are keys.
    """

    container: str
    key: str
    uri: str
    etag: str
    size_bytes: int
    last_modified_utc: datetime
    sidecars: tuple[str, ...] = ()


def arrival_of(main: StoredObject, sidecars: tuple[StoredObject, ...] = ()) -> Arrival:
    """Return the arrival of an object and its sidecars.

    The arrival has the total size and the latest modification time of all of them.
    """
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
    """Return the key of an arrival: 32 hex digits of a hash over URI, etag and parameters.

    An unchanged source with unchanged parameters keeps its key. If a file of the source or a
    parameter changes, the key changes.
    """
    text = json.dumps(
        [arrival.uri, arrival.etag, parameters], sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def group_key(keys: list[str]) -> str:
    """Return the key of a run over several arrivals. The order of `keys` does not matter."""
    return hashlib.sha256("".join(sorted(keys)).encode()).hexdigest()[:32]
