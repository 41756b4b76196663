"""Find arrivals (complete sources) by listing a watch's objects, in passes that a cursor resumes.

A pass goes over all keys of the prefix once, in the store's order. It considers the objects that
appeared since the *watermark*: the time at which the last complete pass started, by the store's
clock. A pass misses no object:

- An object that existed when the last pass started was considered by that pass, or was overwritten
  or removed later.
- An object that appeared later has a time after the watermark, so the next pass considers it, even
  if its key is at a position that the last pass had already gone over.
- A store has several clocks, which differ by minutes. A pass therefore starts `CLOCK_ERROR_S`
  before the watermark. It starts earlier still by the longest wait for a source, so that it
  considers an incomplete source again even if the cursor has dropped that source.
- If the store's clock was ahead and has been set back, the previous watermark is too late. The
  earlier of the two times counts.
- An object whose time is far in the future is considered by every pass until that time. It does not
  move the watermark.

So a pass may find an object that an earlier pass found. The caller recognises it by its arrival
key.

Times of the store are compared only with times of the store. Times of this machine measure only how
long a call takes and how long a source has waited. The size of the cursor is bounded: it keeps at
most `MOST_WAITING` files of incomplete sources. The files of a source may be on two pages; such a
source is listed once more by its own prefix.

`readiness.py` decides when a source is complete.

Called by `orchestrator/arrival_listing.py` and `schedules/sensors.py`.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from geo_platform.arrivals.arrival import Arrival
from geo_platform.arrivals.content import split_by_content
from geo_platform.arrivals.readiness import (
    CLOCK_ERROR_S,
    Waiting,
    appeared,
    longest_wait_s,
    sort_out,
)
from geo_platform.arrivals.watch import Watch
from geo_platform.errors import ParameterInvalid
from geo_platform.ports import ObjectPage, ObjectStore
from geo_platform.source.sidecars import group_prefix

# Waiting files that a cursor keeps. Further waiting files are found again by the next passes, until
# they are older than the longest wait plus the clock error.
MOST_WAITING = 200

# Objects in a page of an object service. The service could return more, but all objects of a page
# may be new, and one sensor tick has to process them.
PAGE_OF_SERVICE = 2_000

# Objects in a page of a local folder. Each page reads the folders up to its start again, so pages
# are larger.
PAGE_OF_FOLDER = 20_000


class ListingCursor(BaseModel):
    """The state of the passes over one watch. Times are by the store's clock."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    # Digest of the watch's container, prefix, patterns and `existing`. If it changes, the passes
    # start from the beginning.
    about: str = ""
    # When the last complete pass started; None during the first pass.
    watermark_utc: datetime | None = None
    # When the watch started, if it ignores objects that existed before.
    not_before_utc: datetime | None = None
    # When the pass in progress started, and the position after which the pass continues.
    pass_began_utc: datetime | None = None
    after: str | None = None
    # Files of incomplete sources by key: at the end of the last complete pass, and found so far by
    # the pass in progress.
    waiting: Mapping[str, Waiting] = {}
    still_waiting: Mapping[str, Waiting] = {}


@dataclass(frozen=True)
class ListingResult:
    """The result of a call: arrivals, skipped objects, and the cursor for the next call.

    `is_whole`: the call reached the end of a pass. `skipped` has (key, reason). `objects` counts
    the listed objects. A caller that cannot process all arrivals keeps its previous cursor; the
    next call then finds the same arrivals again.
    """

    cursor: ListingCursor
    is_whole: bool
    arrivals: tuple[Arrival, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    objects: int = 0


def read_cursor(text: str | None) -> ListingCursor:
    """Parse a stored cursor. Return a new cursor if there is none or it cannot be read.

    A new cursor finds all arrivals again. This requests no second runs: the caller recognises the
    arrivals by their keys.
    """
    try:
        return ListingCursor.model_validate_json(text) if text else ListingCursor()
    except ValidationError:
        return ListingCursor()


def look(
    objects: ObjectStore,
    watch: Watch,
    cursor: ListingCursor,
    *,
    budget_s: float,
    clock: Callable[[], float] = time.time,
    most_arrivals: int | None = None,
) -> ListingResult:
    """Continue the pass page by page until the pass ends, `budget_s` is used up, or
    `most_arrivals` are found.

    At least one page is read. The last page may exceed `most_arrivals`. `clock` returns this
    machine's Unix time.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    Raises ParameterInvalid: the watch has an invalid container or prefix.
    """
    until_s = clock() + budget_s
    cursor = for_watch(cursor, watch)
    result = ListingResult(cursor, is_whole=False)
    while True:
        page = _page(objects, watch, result.cursor)
        if page is None:
            restarted = ListingResult(_at_beginning(result.cursor), is_whole=False)
            result = _joined(result, restarted)
            continue
        result = _joined(result, look_at_page(objects, watch, result.cursor, page, now_s=clock()))
        is_enough = most_arrivals is not None and len(result.arrivals) >= most_arrivals
        if result.is_whole or is_enough or clock() >= until_s:
            return result


def look_at_page(
    objects: ObjectStore, watch: Watch, cursor: ListingCursor, page: ObjectPage, *, now_s: float
) -> ListingResult:
    """Return the arrivals of a page since the watermark, and the cursor after the page.

    A source that may continue on another page is listed completely by its own prefix. `now_s` is
    this machine's Unix time.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    cursor = with_pass_started(cursor, watch, page.at_utc)
    since_utc = considered_since(cursor, watch)
    new = {
        group_prefix(stored.reference.key)
        for stored in page.objects
        if (since_utc is None or appeared(stored) >= since_utc)
        or stored.reference.key in cursor.waiting
    }
    if not new:
        return ListingResult(
            after_page(cursor, page.after, {}), page.after is None, objects=len(page.objects)
        )
    new_in_any_case = {prefix.casefold() for prefix in new}
    source_files = [
        stored
        for stored in page.objects
        if group_prefix(stored.reference.key).casefold() in new_in_any_case
    ]
    for prefix in _over_border(new, page, is_first=cursor.after is None):
        source_files += [
            stored
            for stored in objects.list(watch.container, prefix)
            if group_prefix(stored.reference.key) == prefix
        ]
    sorted_out = sort_out(
        source_files,
        cursor.waiting,
        watch,
        is_local=objects.is_local,
        now_s=now_s,
        at_utc=page.at_utc,
    )
    by_key = {stored.reference.key: stored for stored in source_files} if sorted_out.unnamed else {}
    recognised, unrecognised = split_by_content(
        objects, [by_key[key] for key in sorted_out.unnamed]
    )
    return ListingResult(
        after_page(cursor, page.after, sorted_out.waiting),
        page.after is None,
        (*sorted_out.ready, *recognised),
        (*sorted_out.skipped, *unrecognised),
        len(page.objects),
    )


def for_watch(cursor: ListingCursor, watch: Watch) -> ListingCursor:
    """Return the cursor, or a new one if the container, prefix, patterns or `existing` changed."""
    text = json.dumps([watch.container, watch.prefix, watch.include, watch.exclude, watch.existing])
    about = hashlib.sha256(text.encode()).hexdigest()[:16]
    return cursor if cursor.about == about else ListingCursor(about=about)


def with_pass_started(cursor: ListingCursor, watch: Watch, at_utc: datetime) -> ListingCursor:
    """Return the cursor with a pass in progress; start a pass if there is none.

    `at_utc` is the store's time of the current page. If the store's clock was set back during the
    pass, this earlier time becomes the start of the pass.
    """
    if cursor.pass_began_utc is not None:
        return (
            cursor
            if cursor.pass_began_utc <= at_utc
            else cursor.model_copy(update={"pass_began_utc": at_utc})
        )
    is_first = cursor.watermark_utc is None and cursor.not_before_utc is None
    not_before_utc = at_utc if is_first and not watch.existing else cursor.not_before_utc
    return cursor.model_copy(
        update={"pass_began_utc": at_utc, "not_before_utc": not_before_utc, "still_waiting": {}}
    )


def considered_since(cursor: ListingCursor, watch: Watch) -> datetime | None:
    """Return the earliest time of objects that the pass considers, or None for all objects."""
    if cursor.watermark_utc is None or cursor.pass_began_utc is None:
        return cursor.not_before_utc
    margin = timedelta(seconds=CLOCK_ERROR_S + longest_wait_s(watch))
    since_utc = min(cursor.watermark_utc, cursor.pass_began_utc) - margin
    return max(since_utc, cursor.not_before_utc) if cursor.not_before_utc is not None else since_utc


def after_page(
    cursor: ListingCursor, after: str | None, waiting: Mapping[str, Waiting]
) -> ListingCursor:
    """Return the cursor after a page. `waiting` are the incomplete sources of the page.

    `after` is None at the end of the pass; the start of the pass then becomes the watermark.
    """
    still_waiting = _longest_waiting({**cursor.still_waiting, **waiting})
    if after is not None:
        return cursor.model_copy(update={"after": after, "still_waiting": still_waiting})
    end = {
        "watermark_utc": cursor.pass_began_utc,
        "pass_began_utc": None,
        "after": None,
        "waiting": still_waiting,
        "still_waiting": {},
    }
    return cursor.model_copy(update=end)


def _longest_waiting(waiting: Mapping[str, Waiting]) -> dict[str, Waiting]:
    kept = sorted(waiting.items(), key=lambda entry: (entry[1].since_s, entry[0]))[:MOST_WAITING]
    return dict(sorted(kept))


def _over_border(prefixes: Iterable[str], page: ObjectPage, *, is_first: bool) -> Sequence[str]:
    """Return the prefixes whose sources may have files before or after the page.

    Keys with a common prefix are adjacent, so only the first and the last key of the page matter.
    """
    keys = [] if is_first else [page.objects[0].reference.key]
    keys += [] if page.after is None else [page.objects[-1].reference.key]
    return sorted(
        prefix
        for prefix in prefixes
        if prefix.endswith(".") and any(key.startswith(prefix) for key in keys)
    )


def _page(objects: ObjectStore, watch: Watch, cursor: ListingCursor) -> ObjectPage | None:
    """Return the next page, or None if the store cannot resume the pass at the cursor's position.

    The caller then starts the pass from the beginning.
    """
    limit = PAGE_OF_FOLDER if objects.is_local else PAGE_OF_SERVICE
    try:
        return objects.page(watch.container, watch.prefix, after=cursor.after, limit=limit)
    except ParameterInvalid:
        if cursor.after is None:
            raise
        return None


def _at_beginning(cursor: ListingCursor) -> ListingCursor:
    return cursor.model_copy(update={"after": None, "pass_began_utc": None, "still_waiting": {}})


def _joined(earlier: ListingResult, later: ListingResult) -> ListingResult:
    """Join two results. If both have the same key, the entry of the later result counts."""
    arrivals = {arrival.key: arrival for arrival in (*earlier.arrivals, *later.arrivals)}
    skipped = dict((*earlier.skipped, *later.skipped))
    return ListingResult(
        later.cursor,
        later.is_whole,
        tuple(arrivals.values()),
        tuple(skipped.items()),
        earlier.objects + later.objects,
    )
