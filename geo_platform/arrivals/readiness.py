"""Decide which objects form complete sources, which must wait, and which are skipped, and why.

Pure functions. A blob is complete as soon as it is visible. A file in a local folder may still be
in the process of being written: it must be unchanged for `settle_s`, an empty file for
`complete_within_s`. A source of several files waits for its missing files:

    a Shapefile                       for .shx, .dbf and .prj          complete_within_s
    a .dbf or .shx alone              for the .shp                     complete_within_s
    a GeoPackage                      for its -wal or -journal to go   complete_within_s
    a PNG or JPEG                     for a world file or .aux.xml     a quarter of that time
    an ESRI ASCII grid                for .prj                         a quarter of that time
    any other source, also a TIFF     for nothing: a later sidecar makes another arrival

The wait starts with the last change of any file of the source. After the wait, the source is
processed as it is, and its run reports the missing files. `source/sidecars.py` defines which names
belong together; `content.py` detects a format by content.

Called by `listing.py` and `orchestrator/arrival_events.py`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict

from geo_platform.arrivals.arrival import Arrival, arrival_of
from geo_platform.arrivals.watch import Watch
from geo_platform.ports import UPLOAD_ORIGIN, StoredObject
from geo_platform.source.sidecars import (
    UNKNOWN_EXTENSION,
    SourceGroup,
    group_prefix,
    group_sources,
    guess_driver_sidecars,
)

# Largest assumed difference between the clocks of a store: the clock for the times of objects and
# the clock for the times of listings.
CLOCK_ERROR_S = 600.0

# A picture or a grid waits for its sidecar only for complete_within_s divided by this, since it is
# often complete without a sidecar.
SHORT_WAIT_DIVISOR = 4


class Waiting(BaseModel):
    """An incomplete source: its etag, when the wait started, and what it waits for.

    `since_s` is Unix time of this machine. `why` is a sentence for people.
    """

    model_config = ConfigDict(frozen=True)

    etag: str
    since_s: float
    why: str


@dataclass(frozen=True)
class SortedOut:
    """The decisions about all objects. Every object is in exactly one of the four fields.

    `ready` has the complete sources with their sidecars. `waiting` has the files of incomplete
    sources by key. `skipped` has (key, reason) of each object that is not processed. `unnamed` has
    the keys of complete objects without a known extension, whose format only their content can
    show. All are in order of key.
    """

    ready: tuple[Arrival, ...]
    waiting: dict[str, Waiting]
    skipped: tuple[tuple[str, str], ...]
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
    """Decide about objects of the watch's container, in any order.

    All files of a source must be passed in one call. `waiting` is the field `waiting` of the
    previous call's result. `now_s` is Unix time of this machine. `at_utc` is the store's time of
    the listing, if known: an object that is older than the wait plus the clock error then does not
    wait, although no previous call saw it.
    """
    sorting = _Sorting(waiting, watch, is_local=is_local, now_s=now_s, at_utc=at_utc)
    for parts in sets_of(objects).values():
        sorting.add(parts)
    return sorting.result()


def sets_of(objects: Iterable[StoredObject]) -> dict[str, dict[str, StoredObject]]:
    """Group the objects that may belong to one source: prefix of the names -> key -> object.

    The prefix is in lower case, because letter case does not matter.
    If an object is passed in two versions, the later version counts.
    """
    sets: dict[str, dict[str, StoredObject]] = {}
    for stored in sorted(
        objects, key=lambda each: (each.reference.key, each.last_modified_utc, each.reference.etag)
    ):
        prefix = group_prefix(stored.reference.key).casefold()
        sets.setdefault(prefix, {})[stored.reference.key] = stored
    return sets


@dataclass
class _Sorting:
    previously_waiting: Mapping[str, Waiting]
    watch: Watch
    is_local: bool = field(kw_only=True)
    now_s: float = field(kw_only=True)
    at_utc: datetime | None = field(kw_only=True)
    _ready: dict[str, Arrival] = field(default_factory=dict)
    _ready_keys: set[str] = field(default_factory=set)
    _waiting: dict[str, Waiting] = field(default_factory=dict)
    _skipped: dict[str, str] = field(default_factory=dict)
    _unnamed: set[str] = field(default_factory=set)

    def add(self, parts: Mapping[str, StoredObject]) -> None:
        grouping = group_sources(parts)
        for key, reason in grouping.left_out:
            if reason == UNKNOWN_EXTENSION:
                self._decide(
                    SourceGroup(key, ()),
                    parts,
                    lambda main, _: self._unnamed.add(main.reference.key),
                )
            else:
                self._skipped[key] = reason
        for group in grouping.sources:
            self._decide(group, parts, self._add_ready)

    def result(self) -> SortedOut:
        """Return the result. A sidecar of two sources is ready if one of the sources is."""
        waiting = {
            key: entry for key, entry in self._waiting.items() if key not in self._ready_keys
        }
        skipped = {
            key: reason
            for key, reason in self._skipped.items()
            if key not in self._ready_keys and key not in waiting
        }
        ready = tuple(self._ready[key] for key in sorted(self._ready))
        return SortedOut(
            ready,
            dict(sorted(waiting.items())),
            tuple(sorted(skipped.items())),
            tuple(sorted(self._unnamed)),
        )

    def _add_ready(self, main: StoredObject, sidecars: tuple[StoredObject, ...]) -> None:
        arrival = arrival_of(main, sidecars)
        self._ready[arrival.key] = arrival
        self._ready_keys |= {arrival.key, *arrival.sidecars}

    def _decide(
        self,
        group: SourceGroup,
        parts: Mapping[str, StoredObject],
        add_complete: Callable[[StoredObject, tuple[StoredObject, ...]], object],
    ) -> None:
        main = parts[group.main]
        sidecars = tuple(parts[key] for key in guess_driver_sidecars(group.main, parts.keys()))
        files = (main, *sidecars)
        self._skipped |= dict.fromkeys(
            group.sidecars, f"It belongs to {group.main!r}, and no driver reads it."
        )
        arrival = arrival_of(main, sidecars)
        since_s = self._since_s(arrival, files)
        unchanged_s = self.now_s - since_s
        why_skip = _why_skip(files, self.watch)
        why_wait = self._why_wait(files, parts, unchanged_s) if why_skip is None else None
        if why_wait is not None:
            entry = Waiting(etag=arrival.etag, since_s=since_s, why=why_wait)
            self._waiting |= {part.reference.key: entry for part in files}
            return
        if why_skip is None and main.reference.size_bytes == 0:
            why_skip = "It is empty."
        if why_skip is None:
            add_complete(main, sidecars)
            return
        skipped_sidecars = {
            part.reference.key: f"It belongs to {group.main!r}. {why_skip}" for part in sidecars
        }
        self._skipped |= {**skipped_sidecars, group.main: why_skip}

    def _since_s(self, arrival: Arrival, files: Sequence[StoredObject]) -> float:
        """Return since when the files are unchanged, as Unix time of this machine."""
        entry = self.previously_waiting.get(arrival.key)
        if entry is not None and entry.etag == arrival.etag:
            return min(entry.since_s, self.now_s)
        if self.at_utc is None:
            return self.now_s
        appeared_utc = max(appeared(part) for part in files)
        return self.now_s - max(0.0, (self.at_utc - appeared_utc).total_seconds() - CLOCK_ERROR_S)

    def _why_wait(
        self, files: Sequence[StoredObject], parts: Mapping[str, StoredObject], unchanged_s: float
    ) -> str | None:
        if self.is_local and unchanged_s < self.watch.settle_s:
            return "It may still be written to."
        if (
            self.is_local
            and unchanged_s < self.watch.complete_within_s
            and any(part.reference.size_bytes == 0 for part in files)
        ):
            return "It is still empty."
        missing, fraction = _missing([part.reference.key for part in files], parts)
        return missing if unchanged_s < self.watch.complete_within_s * fraction else None


def longest_wait_s(watch: Watch) -> float:
    """Return the longest time for which an unchanged object of the watch may wait, in seconds."""
    return max(watch.settle_s, watch.complete_within_s)


def appeared(stored: StoredObject) -> datetime:
    """Return when this version of the object appeared, by the store's clock."""
    return stored.appeared_utc or stored.last_modified_utc


def _why_skip(files: Sequence[StoredObject], watch: Watch) -> str | None:
    main = files[0].reference
    if not watch.covers(main.container, main.key):
        return f"It does not match the watch {watch.name!r}."
    if all(UPLOAD_ORIGIN in part.metadata for part in files):
        return "A client submitted it."
    return None


def _missing(names: Sequence[str], parts: Mapping[str, StoredObject]) -> tuple[str | None, float]:
    """Return (what is missing, fraction of `complete_within_s` to wait for it).

    `names` has the key of the main object, then the keys of its sidecars.
    """
    main, sidecars = names[0].casefold(), [name.casefold() for name in names[1:]]
    extension = PurePosixPath(main).suffix
    if extension == ".shp":
        missing = [
            part
            for part in (".shx", ".dbf", ".prj")
            if not any(name.endswith(part) for name in sidecars)
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
        name.endswith((".prj", ".msk")) for name in sidecars
    ):
        return "Its world file may still arrive.", 1 / SHORT_WAIT_DIVISOR
    if extension in (".asc", ".grd") and not any(name.endswith(".prj") for name in sidecars):
        return "Its .prj may still arrive.", 1 / SHORT_WAIT_DIVISOR
    return None, 0
