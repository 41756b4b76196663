"""Decide which objects form complete sources, which must wait, and which are skipped, and why.

Pure functions. A blob is complete as soon as it is visible. A file in a folder may still be
written: it must be unchanged for `settle_s`, and an empty one for `complete_within_s`. A source of
several files waits for those that are missing:

    a Shapefile                       for .shx, .dbf and .prj          complete_within_s
    a .dbf or .shx alone              for the .shp                     complete_within_s
    a GeoPackage                      for its -wal or -journal to go   complete_within_s
    a PNG or JPEG                     for a world file or .aux.xml     a quarter of it
    an ESRI ASCII grid                for .prj                         a quarter of it
    anything else, a TIFF too         for nothing: a later file makes another arrival

The wait starts with the last change of any of its files. After it, an incomplete source is
processed as it is: its run reports what is missing. `source/sidecars.py` knows which names belong
together, `content.py` what a file is by its content.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict

from geo_platform.arrivals.arrival import Arrival, arrival_of
from geo_platform.arrivals.watch import Watch
from geo_platform.ports import SUBMITTED, StoredObject
from geo_platform.source.sidecars import (
    UNKNOWN_EXTENSION,
    SourceGroup,
    group_sources,
    seen_by_driver,
    set_prefix,
)

# Largest assumed difference between a store's clocks: of an object's time and of a listing's time.
CLOCK_ERROR_S = 600.0

# A picture or a grid waits for its sidecar only this fraction, since it is often complete without.
SHORTER = 4


class Waiting(BaseModel):
    """An incomplete source: its etag, since when it waits (Unix time of this machine), and why."""

    model_config = ConfigDict(frozen=True)

    etag: str
    since_s: float
    why: str


@dataclass(frozen=True)
class SortedOut:
    """Every object is in one of these; in `ready`, as the source or as a sidecar.

    `left` are skipped objects with the reason. `unnamed` are objects whose name has no known
    extension; their content may tell what they are. Both are in order of key.
    """

    ready: tuple[Arrival, ...]
    waiting: dict[str, Waiting]
    left: tuple[tuple[str, str], ...]
    unnamed: tuple[str, ...]


def sort_out(
    objects: Sequence[StoredObject],
    waiting: Mapping[str, Waiting],
    watch: Watch,
    *,
    is_local: bool,
    now_s: float,
    at_utc: datetime | None = None,
) -> SortedOut:
    """Decide about objects of the watch's container. All files of a source must be passed together.

    `waiting` is what the previous call left waiting. `at_utc` is the store's time of the listing:
    with it, an object that is older than the wait and any clock error does not wait. The order of
    the objects does not matter.
    """
    look = _Look(waiting, watch, is_local=is_local, now_s=now_s, at_utc=at_utc)
    for parts in sets_of(objects).values():
        look.take(parts)
    return look.found()


def sets_of(objects: Iterable[StoredObject]) -> dict[str, dict[str, StoredObject]]:
    """Group objects that may belong to one source, by common name prefix, then by key.

    Of two versions of one object the later counts.
    """
    sets: dict[str, dict[str, StoredObject]] = {}
    for stored in sorted(
        objects, key=lambda one: (one.reference.key, one.last_modified_utc, one.reference.etag)
    ):
        sets.setdefault(set_prefix(stored.reference.key), {})[stored.reference.key] = stored
    return sets


@dataclass
class _Look:
    before: Mapping[str, Waiting]
    watch: Watch
    is_local: bool = field(kw_only=True)
    now_s: float = field(kw_only=True)
    at_utc: datetime | None = field(kw_only=True)
    _ready: dict[str, Arrival] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _waiting: dict[str, Waiting] = field(default_factory=dict)
    _left: dict[str, str] = field(default_factory=dict)
    _unnamed: set[str] = field(default_factory=set)

    def take(self, parts: Mapping[str, StoredObject]) -> None:
        grouping = group_sources(parts)
        for key, reason in grouping.left_out:
            if reason == UNKNOWN_EXTENSION:
                self._decide(
                    SourceGroup(key, ()),
                    parts,
                    lambda main, _: self._unnamed.add(main.reference.key),
                )
            else:
                self._left[key] = reason
        for group in grouping.sources:
            self._decide(group, parts, self._is_ready)

    def found(self) -> SortedOut:
        """Return the result. A sidecar of two sources is ready if either is, else it waits."""
        waiting = {key: entry for key, entry in self._waiting.items() if key not in self._taken}
        left = {
            key: reason
            for key, reason in self._left.items()
            if key not in self._taken and key not in waiting
        }
        ready = tuple(self._ready[key] for key in sorted(self._ready))
        return SortedOut(
            ready,
            dict(sorted(waiting.items())),
            tuple(sorted(left.items())),
            tuple(sorted(self._unnamed)),
        )

    def _is_ready(self, main: StoredObject, sidecars: tuple[StoredObject, ...]) -> None:
        arrival = arrival_of(main, sidecars)
        self._ready[arrival.key] = arrival
        self._taken |= {arrival.key, *arrival.sidecars}

    def _decide(
        self,
        group: SourceGroup,
        parts: Mapping[str, StoredObject],
        is_whole: Callable[[StoredObject, tuple[StoredObject, ...]], object],
    ) -> None:
        main = parts[group.main]
        sidecars = tuple(parts[key] for key in seen_by_driver(group.main, parts.keys()))
        seen = (main, *sidecars)
        self._left |= dict.fromkeys(
            group.sidecars, f"It belongs to {group.main!r}, and no driver reads it."
        )
        arrival = arrival_of(main, sidecars)
        since_s = self._since_s(arrival, seen)
        lain_s = self.now_s - since_s
        why_left = _why_left(seen, self.watch)
        why_wait = self._why_wait(seen, parts, lain_s) if why_left is None else None
        if why_wait is not None:
            entry = Waiting(etag=arrival.etag, since_s=since_s, why=why_wait)
            self._waiting |= {part.reference.key: entry for part in seen}
            return
        if why_left is None and main.reference.size_bytes == 0:
            why_left = "It is empty."
        if why_left is None:
            is_whole(main, sidecars)
            return
        of_main = {
            part.reference.key: f"It belongs to {group.main!r}. {why_left}" for part in sidecars
        }
        self._left |= {**of_main, group.main: why_left}

    def _since_s(self, arrival: Arrival, seen: Sequence[StoredObject]) -> float:
        before = self.before.get(arrival.key)
        if before is not None and before.etag == arrival.etag:
            return min(before.since_s, self.now_s)
        if self.at_utc is None:
            return self.now_s
        appeared_utc = max(appeared(part) for part in seen)
        return self.now_s - max(0.0, (self.at_utc - appeared_utc).total_seconds() - CLOCK_ERROR_S)

    def _why_wait(
        self, seen: Sequence[StoredObject], parts: Mapping[str, StoredObject], lain_s: float
    ) -> str | None:
        if self.is_local and lain_s < self.watch.settle_s:
            return "It may still be written to."
        if (
            self.is_local
            and lain_s < self.watch.complete_within_s
            and any(part.reference.size_bytes == 0 for part in seen)
        ):
            return "It is still empty."
        missing, share = _missing([part.reference.key for part in seen], parts)
        return missing if lain_s < self.watch.complete_within_s * share else None


def longest_wait_s(watch: Watch) -> float:
    """Return the time after which no unchanged object of the watch waits."""
    return max(watch.settle_s, watch.complete_within_s)


def appeared(stored: StoredObject) -> datetime:
    """Return since when the object exists in this version, by the store's clock."""
    return stored.appeared_utc or stored.last_modified_utc


def _why_left(seen: Sequence[StoredObject], watch: Watch) -> str | None:
    main = seen[0].reference
    if not watch.is_about(main.container, main.key):
        return f"It does not match the watch {watch.name!r}."
    if all(SUBMITTED in part.metadata for part in seen):
        return "A client submitted it."
    return None


def _missing(names: Sequence[str], parts: Mapping[str, StoredObject]) -> tuple[str | None, float]:
    """Return (what is missing, fraction of the wait). `names`: the source, then its sidecars."""
    main, beside = names[0].casefold(), [name.casefold() for name in names[1:]]
    extension = PurePosixPath(main).suffix
    if extension == ".shp":
        missing = [
            part
            for part in (".shx", ".dbf", ".prj")
            if not any(name.endswith(part) for name in beside)
        ]
        return (f"Its {', '.join(missing)} may still arrive." if missing else None), 1
    if extension in (".dbf", ".shx"):
        return "Its .shp may still arrive.", 1
    if extension == ".gpkg":
        logs = (
            parts[key].reference.size_bytes
            for key in parts
            if key.casefold() in (f"{main}-wal", f"{main}-journal")
        )
        return ("Its -wal or -journal has unwritten changes." if any(logs) else None), 1
    if extension in (".png", ".jpg", ".jpeg") and all(
        name.endswith((".prj", ".msk")) for name in beside
    ):
        return "Its world file may still arrive.", 1 / SHORTER
    if extension in (".asc", ".grd") and not any(name.endswith(".prj") for name in beside):
        return "Its .prj may still arrive.", 1 / SHORTER
    return None, 0
