"""What of the objects that lie there is a whole source, what is waited for, and what is left, with the reason. Pure.

What belongs here: when a source is whole. What stays out: which names belong together (`source/sidecars.py`), what a file is by
its content (`content.py`), and finding objects.

A blob is whole as soon as it is seen. A file in a folder may still be being written: it has to lie unchanged for `settle_s`, and
one without bytes for `complete_within_s`. A source of several files waits for those that are missing:

    a Shapefile                       for .shx, .dbf and .prj          complete_within_s
    a .dbf or .shx alone              for the .shp                     complete_within_s
    a GeoPackage                      for its -wal or -journal to go   complete_within_s
    a PNG or JPEG                     for a world file or .aux.xml     a quarter of it
    an ESRI ASCII grid                for .prj                         a quarter of it
    anything else, a TIFF too         for nothing: a file that comes later makes another arrival

Time counts from the last change of any of its files. What is incomplete after that goes all the same: its run says what is missing.
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

# How far apart the clocks of a store may be: that by which an object has its time, and that by
# which a page of a listing has.
CLOCK_ERROR_S = 600.0

# A picture or a grid waits for its companion this many times shorter: it is often complete without
# one.
SHORTER = 4


class Waiting(BaseModel):
    """A source that is not whole: at which etag, since when by this machine's clock (seconds since 1970), and why."""

    model_config = ConfigDict(frozen=True)

    etag: str
    since_s: float
    why: str


@dataclass(frozen=True)
class SortedOut:
    """Every object is in one of these: in `ready` as the source or a sidecar. `left` and `unnamed` are in order of key.

    Of an `unnamed` one the name says nothing, and its content may.
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
    """Decide about objects of the watch's container, whole sets of them, by what was waited for at the look before.

    With `at_utc`, the store's time of the look, what has lain there for longer than the wait and any error of the clocks is not
    waited for. The order of the objects does not matter.
    """
    look = _Look(waiting, watch, is_local=is_local, now_s=now_s, at_utc=at_utc)
    for parts in sets_of(objects).values():
        look.take(parts)
    return look.found()


def sets_of(objects: Iterable[StoredObject]) -> dict[str, dict[str, StoredObject]]:
    """Objects that may be parts of one source, by what their names begin with, then by key: of two states the later one."""
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
        """A sidecar that two sources share is ready with either, then waits with either."""
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
            group.sidecars, f"It belongs to {group.main!r}, and no driver is shown it."
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
            why_left = "It holds no bytes."
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
            return "It may still be being written."
        if (
            self.is_local
            and lain_s < self.watch.complete_within_s
            and any(part.reference.size_bytes == 0 for part in seen)
        ):
            return "It holds no bytes yet."
        missing, share = _missing([part.reference.key for part in seen], parts)
        return missing if lain_s < self.watch.complete_within_s * share else None


def longest_wait_s(watch: Watch) -> float:
    """After which nothing of the watch is waited for any more, unless it changes."""
    return max(watch.settle_s, watch.complete_within_s)


def appeared(stored: StoredObject) -> datetime:
    """Since when it lies there as it is, by the store's clock."""
    return stored.appeared_utc or stored.last_modified_utc


def _why_left(seen: Sequence[StoredObject], watch: Watch) -> str | None:
    main = seen[0].reference
    if not watch.is_about(main.container, main.key):
        return f"It is none of the objects of the watch {watch.name!r}."
    if all(SUBMITTED in part.metadata for part in seen):
        return "It was submitted with a request of its own."
    return None


def _missing(names: Sequence[str], parts: Mapping[str, StoredObject]) -> tuple[str | None, float]:
    """(what is waited for, which share of the whole wait). `names`: the source, then its sidecars."""
    main, beside = names[0].casefold(), [name.casefold() for name in names[1:]]
    extension = PurePosixPath(main).suffix
    if extension == ".shp":
        missing = [
            part
            for part in (".shx", ".dbf", ".prj")
            if not any(name.endswith(part) for name in beside)
        ]
        return (f"{', '.join(missing)} of it may still come." if missing else None), 1
    if extension in (".dbf", ".shx"):
        return "The .shp that it belongs to may still come.", 1
    if extension == ".gpkg":
        logs = (
            parts[key].reference.size_bytes
            for key in parts
            if key.casefold() in (f"{main}-wal", f"{main}-journal")
        )
        return ("Changes are not yet written into it." if any(logs) else None), 1
    if extension in (".png", ".jpg", ".jpeg") and all(
        name.endswith((".prj", ".msk")) for name in beside
    ):
        return "Its world file may still come.", 1 / SHORTER
    if extension in (".asc", ".grd") and not any(name.endswith(".prj") for name in beside):
        return "Its .prj may still come.", 1 / SHORTER
    return None, 0
