"""Find arrivals by listing a watch's objects, in passes that a cursor resumes.

A pass goes over all keys of the prefix once, in the store's order. It considers the objects that
appeared since the *watermark*: the time at which the last complete pass started, by the store's
clock. Nothing is missed:

- What existed when the last pass started was seen by it, or was overwritten or removed later.
- What appeared after that, also behind the position of the pass, has a time after the watermark:
  the next pass sees it.
- A store has several clocks, which differ by minutes. So a pass looks back behind the watermark by
  `CLOCK_ERROR_S`, and by the longest wait for a source, so that an incomplete source is found again
  even if the cursor has dropped it.
- A clock that was ahead and has been corrected makes the previous watermark too late: the earlier
  of the two times counts.
- An object whose own time is far in the future is found by every pass until then, and does not move
  the watermark.

So a pass finds an object again that earlier passes found. The caller tells them apart by arrival
key.

Only the store's times are compared with each other, and only this machine's with each other: how
long a call takes, and how long a source has waited. The cursor has a bounded size: it keeps at most
`MOST_WAITING` files of incomplete sources. The files of a source may be on two pages; a source that
may continue across a page border is listed by itself.

`readiness.py` decides when a source is complete.
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

# Files that a cursor remembers. Other waiting files are found again until they are older than any
# clock error.
MOST_WAITING = 200

# Less than a service returns at once: all objects of a page may be new, and are handled in one
# tick.
PAGE_OF_SERVICE = 2_000

# Each page reads the folders on the way to its start again, so pages of a folder are larger.
PAGE_OF_FOLDER = 20_000


class ListingCursor(BaseModel):
    """The state of one watch's passes. Times are the store's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    # Digest of the watch's container, prefix and patterns. If it changes, a first pass starts.
    about: str = ""
    # When the last complete pass started; None during the first pass.
    watermark_utc: datetime | None = None
    # When the watch started, if it ignores existing objects.
    not_before_utc: datetime | None = None
    # Start of the pass in progress, and the position `after` which it continues.
    pass_began_utc: datetime | None = None
    after: str | None = None
    # Incomplete sources by key: as the last complete pass left them, and as this pass found them.
    waiting: Mapping[str, Waiting] = {}
    still_waiting: Mapping[str, Waiting] = {}


@dataclass(frozen=True)
class Look:
    """What a call found, and the cursor for the next one. `is_whole`: it reached the end of a pass.

    A caller that cannot take all arrivals keeps its previous cursor, and finds them again.
    """

    cursor: ListingCursor
    is_whole: bool
    arrivals: tuple[Arrival, ...] = ()
    left: tuple[tuple[str, str], ...] = ()
    objects: int = 0


def read_cursor(text: str | None) -> ListingCursor:
    """What `model_dump_json` wrote; a cursor of another version begins anew, which finds everything
    once more and asks for nothing.
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
) -> Look:
    """Continue the pass page by page until it ends, `budget_s` are over, or there are enough
    arrivals.

    At least one page is read. `clock` returns this machine's Unix time. Raises the store's errors.
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
    """Return the new arrivals of a page, with all files of each source, and the cursor after it.

    Lists sources that may continue on another page.
    """
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
    """Return the cursor, or a new one if it belongs to another container, prefix or pattern."""
    text = json.dumps([watch.container, watch.prefix, watch.include, watch.exclude, watch.existing])
    about = hashlib.sha256(text.encode()).hexdigest()[:16]
    return cursor if cursor.about == about else ListingCursor(about=about)


def begun(cursor: ListingCursor, watch: Watch, at_utc: datetime) -> ListingCursor:
    """Return the cursor within a pass. `at_utc` is the time of its page.

    If the clock was set back meanwhile, the earlier time counts.
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


def found_since(cursor: ListingCursor, watch: Watch) -> datetime | None:
    """Return the earliest time of objects that the pass considers, or None for all objects."""
    if cursor.watermark_utc is None or cursor.pass_began_utc is None:
        return cursor.not_before_utc
    back = timedelta(seconds=CLOCK_ERROR_S + longest_wait_s(watch))
    since_utc = min(cursor.watermark_utc, cursor.pass_began_utc) - back
    return max(since_utc, cursor.not_before_utc) if cursor.not_before_utc is not None else since_utc


def behind(
    cursor: ListingCursor, after: str | None, waiting: Mapping[str, Waiting]
) -> ListingCursor:
    """Return the cursor after a page.

    At the end of the pass (`after` is None) its start becomes the watermark.
    """
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
    """Return the prefixes that may continue before or after the page.

    Names with a common prefix are adjacent, so only the first and the last key matter.
    """
    keys = [] if is_first else [page.objects[0].reference.key]
    keys += [] if page.after is None else [page.objects[-1].reference.key]
    return sorted(
        prefix
        for prefix in prefixes
        if prefix.endswith(".") and any(key.startswith(prefix) for key in keys)
    )


def _page(objects: ObjectStore, watch: Watch, cursor: ListingCursor) -> ObjectPage | None:
    """Return the next page; None if the store cannot resume the pass: it then starts again."""
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
    """Join two results. For a source on the border of two pages the later one counts."""
    arrivals = {arrival.key: arrival for arrival in (*one.arrivals, *other.arrivals)}
    left = dict((*one.left, *other.left))
    return Look(
        other.cursor,
        other.is_whole,
        tuple(arrivals.values()),
        tuple(left.items()),
        one.objects + other.objects,
    )
