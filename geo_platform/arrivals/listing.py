"""Finding arrivals by listing: pass after pass over a watch's objects, each gone on with until the time of a look is used up.

What belongs here: where a pass is, and which objects it is about. What stays out: when a source is whole (`readiness.py`), and
asking for runs.

A pass goes over all keys of the prefix once, in the store's order. It is about the objects that have appeared since the *watermark*:
the time at which the last whole pass began, by the store's clock. Nothing is missed:

- What lay there when the last pass began, that pass saw, or somebody overwrote or removed it later.
- What appeared after that moment, also behind the position of the pass, has a time after the watermark: the next pass sees it.
- A store has several clocks, which differ by minutes. So a pass goes back behind the watermark, by `CLOCK_ERROR_S`, and by the
  longest time that a source may be waited for, so that what waits is seen again even where the cursor has forgotten it.
- A clock that was ahead and was put right makes the watermark of the pass before too late: of the two times the earlier one counts.
- An object whose own time is far ahead is found in every pass until then, and moves no watermark.

So an object is found in several passes. Whoever takes arrivals knows those that he had, by their key.

Only the store's times are compared with each other, and this machine's with each other: how long a look takes and how long a source
has been waited for. The cursor is of one size however many objects there are: it remembers at most `MOST_WAITING` files of
sources that are not whole. Parts of one source may lie on two pages; what could go on over the border of a page is listed by itself.
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
from geo_platform.arrivals.content import arrivals_by_content
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
from geo_platform.source.sidecars import set_prefix

# Files that a cursor remembers. Others that wait are found again until they are older than any
# doubt about the clocks.
MOST_WAITING = 200

# Less than a service gives at once: each of them may be new, and what is new on a page is decided
# about within one tick.
PAGE_OF_SERVICE = 2_000

# For each page the folders on the way to its beginning are read anew.
PAGE_OF_FOLDER = 20_000


class ListingCursor(BaseModel):
    """Where the passes of one watch are. Times are the store's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    # Digest of what the watch is about: when that changes, the next pass is a first one.
    about: str = ""
    # When the last whole pass began; none as long as the first one goes on.
    watermark_utc: datetime | None = None
    # When the watch began, where it does not take in what lay there.
    not_before_utc: datetime | None = None
    # Of the pass that goes on, with the place `after` which it goes on; none between two passes.
    pass_began_utc: datetime | None = None
    after: str | None = None
    # As the last whole pass left it, by the key of the source; `still_waiting` as this one has
    # found it up to here.
    waiting: Mapping[str, Waiting] = {}
    still_waiting: Mapping[str, Waiting] = {}


@dataclass(frozen=True)
class Look:
    """What a look found, and where the next one goes on. `is_whole`: it came to the end of a pass.

    Whoever cannot take all arrivals keeps the cursor from before the look, and finds them again.
    """

    cursor: ListingCursor
    is_whole: bool
    arrivals: tuple[Arrival, ...] = ()
    left: tuple[tuple[str, str], ...] = ()
    objects: int = 0


def read_cursor(text: str | None) -> ListingCursor:
    """What `model_dump_json` wrote; a cursor of another version begins anew, which finds everything once more and asks for nothing."""
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
) -> Look:
    """Go on with the pass, page by page, until it ends, `budget_s` are over or there are so many arrivals: at least one page.

    `clock` tells this machine's time in seconds since 1970. Raises the store's faults.
    """
    until_s = clock() + budget_s
    cursor = for_watch(cursor, watch)
    found = Look(cursor, is_whole=False)
    while True:
        page = _page(objects, watch, found.cursor)
        if page is None:
            found = _joined(found, Look(_at_beginning(found.cursor), is_whole=False))
            continue
        found = _joined(found, look_at_page(objects, watch, found.cursor, page, now_s=clock()))
        enough = most_arrivals is not None and len(found.arrivals) >= most_arrivals
        if found.is_whole or enough or clock() >= until_s:
            return found


def look_at_page(
    objects: ObjectStore, watch: Watch, cursor: ListingCursor, page: ObjectPage, *, now_s: float
) -> Look:
    """What is new on the page, with all parts of each source, and the cursor behind it. Asks the store for what the page cannot say."""
    cursor = begun(cursor, watch, page.at_utc)
    since_utc = found_since(cursor, watch)
    new = {
        set_prefix(stored.reference.key)
        for stored in page.objects
        if (since_utc is None or appeared(stored) >= since_utc)
        or stored.reference.key in cursor.waiting
    }
    if not new:
        return Look(behind(cursor, page.after, {}), page.after is None, objects=len(page.objects))
    whole = [stored for stored in page.objects if set_prefix(stored.reference.key) in new]
    for prefix in _over_border(new, page, is_first=cursor.after is None):
        whole += [
            stored
            for stored in objects.list(watch.container, prefix)
            if set_prefix(stored.reference.key) == prefix
        ]
    sorted_out = sort_out(
        whole, cursor.waiting, watch, is_local=objects.is_local, now_s=now_s, at_utc=page.at_utc
    )
    by_key = {stored.reference.key: stored for stored in whole} if sorted_out.unnamed else {}
    recognised, of_none = arrivals_by_content(objects, [by_key[key] for key in sorted_out.unnamed])
    return Look(
        behind(cursor, page.after, sorted_out.waiting),
        page.after is None,
        (*sorted_out.ready, *recognised),
        (*sorted_out.left, *of_none),
        len(page.objects),
    )


def for_watch(cursor: ListingCursor, watch: Watch) -> ListingCursor:
    """The cursor itself, or a new one where it was about other objects."""
    said = json.dumps([watch.container, watch.prefix, watch.include, watch.exclude, watch.existing])
    about = hashlib.sha256(said.encode()).hexdigest()[:16]
    return cursor if cursor.about == about else ListingCursor(about=about)


def begun(cursor: ListingCursor, watch: Watch, at_utc: datetime) -> ListingCursor:
    """The cursor within a pass at `at_utc`, the time of its page. Where the clock was put back meanwhile, the earlier time counts."""
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


def found_since(cursor: ListingCursor, watch: Watch) -> datetime | None:
    """Which time an object must have for the pass to be about it; None: any."""
    if cursor.watermark_utc is None or cursor.pass_began_utc is None:
        return cursor.not_before_utc
    back = timedelta(seconds=CLOCK_ERROR_S + longest_wait_s(watch))
    since_utc = min(cursor.watermark_utc, cursor.pass_began_utc) - back
    return max(since_utc, cursor.not_before_utc) if cursor.not_before_utc is not None else since_utc


def behind(
    cursor: ListingCursor, after: str | None, waiting: Mapping[str, Waiting]
) -> ListingCursor:
    """The cursor after a page: in the pass, or at its end, where the time at which it began is the new watermark."""
    still = _longest_waiting({**cursor.still_waiting, **waiting})
    if after is not None:
        return cursor.model_copy(update={"after": after, "still_waiting": still})
    end = {
        "watermark_utc": cursor.pass_began_utc,
        "pass_began_utc": None,
        "after": None,
        "waiting": still,
        "still_waiting": {},
    }
    return cursor.model_copy(update=end)


def _longest_waiting(waiting: Mapping[str, Waiting]) -> dict[str, Waiting]:
    kept = sorted(waiting.items(), key=lambda entry: (entry[1].since_s, entry[0]))[:MOST_WAITING]
    return dict(sorted(kept))


def _over_border(prefixes: Iterable[str], page: ObjectPage, *, is_first: bool) -> Sequence[str]:
    """Those that may go on before or behind the page. Names that begin alike lie together, so the first and the last key say so."""
    keys = [] if is_first else [page.objects[0].reference.key]
    keys += [] if page.after is None else [page.objects[-1].reference.key]
    return sorted(
        prefix
        for prefix in prefixes
        if prefix.endswith(".") and any(key.startswith(prefix) for key in keys)
    )


def _page(objects: ObjectStore, watch: Watch, cursor: ListingCursor) -> ObjectPage | None:
    """None where the store cannot go on with the pass: it is begun again, with the same watermark."""
    most = PAGE_OF_FOLDER if objects.is_local else PAGE_OF_SERVICE
    try:
        return objects.page(watch.container, watch.prefix, after=cursor.after, limit=most)
    except ParameterInvalid:
        if cursor.after is None:
            raise
        return None


def _at_beginning(cursor: ListingCursor) -> ListingCursor:
    return cursor.model_copy(update={"after": None, "pass_began_utc": None, "still_waiting": {}})


def _joined(one: Look, other: Look) -> Look:
    """Both together; of a source on the border of two pages the later look counts."""
    arrivals = {arrival.key: arrival for arrival in (*one.arrivals, *other.arrivals)}
    left = dict((*one.left, *other.left))
    return Look(
        other.cursor,
        other.is_whole,
        tuple(arrivals.values()),
        tuple(left.items()),
        one.objects + other.objects,
    )
