"""The timeline orders the events of all stores and drops none."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from geo_platform.trace.timeline import Event, Kind, Store, ordered, stages_of

ZERO = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
KINDS = ["STAGE_START", "STAGE_DONE", "STAGE_FAILED", *Kind]


def at(
    seconds: float,
    kind: str,
    stage: str | None = None,
    *,
    attempt: int | None = None,
    whole: bool = False,
) -> Event:
    moment = ZERO + timedelta(seconds=seconds)
    return Event(
        moment,
        Store.dagster,
        kind,
        f"{kind} at {seconds}",
        stage,
        attempt,
        duration_ms=1.0,
        is_whole_seconds=whole,
    )


@st.composite
def drawn_event(draw: st.DrawFn) -> Event:
    whole = draw(st.booleans())
    seconds = draw(st.integers(0, 5)) if whole else draw(st.floats(0, 5, allow_nan=False))
    stage = draw(st.sampled_from([None, "a", "b"]))
    return at(seconds, draw(st.sampled_from(KINDS)), stage, whole=whole)


@given(st.lists(drawn_event()))
def test_no_event_is_lost_and_exact_times_are_in_order(
    events: list[Event],
) -> None:
    timeline = ordered(events)
    assert sorted(map(id, timeline)) == sorted(map(id, events))
    exact = [event.at_utc for event in timeline if not event.is_whole_seconds]
    assert exact == sorted(exact)
    assert ordered(timeline) == timeline


@given(st.lists(drawn_event()))
def test_times_in_whole_seconds_move_by_less_than_one(events: list[Event]) -> None:
    timeline = ordered(events)
    for before, after in pairwise(timeline):
        assert before.at_utc - after.at_utc < timedelta(seconds=1)


@given(st.lists(drawn_event()))
def test_events_of_one_moment_keep_their_order(
    events: list[Event],
) -> None:
    same = [Event(ZERO, event.store, event.kind, str(place)) for place, event in enumerate(events)]
    assert ordered(same) == tuple(same)


def test_a_write_in_whole_seconds_comes_after_the_start_of_its_stage() -> None:
    blob, start, later = (
        at(0, "BLOB_WRITTEN", "a", whole=True),
        at(0.7, "STAGE_START", "a"),
        at(0.8, "MESSAGE_CREATED", "a"),
    )
    assert ordered([start, later, blob]) == (start, blob, later)
    earlier = at(-2, "BLOB_REUSED", "a", whole=True)
    assert ordered([start, earlier])[0] is earlier


def test_the_last_attempt_decides_whether_a_stage_is_done_failed_or_unfinished() -> None:
    retried = [
        at(0, "STAGE_START", "a", attempt=1),
        at(1, "STAGE_FAILED", "a", attempt=1),
        at(2, "STAGE_START", "a", attempt=2),
        at(3, "STAGE_DONE", "a", attempt=2),
        at(4, "STAGE_START", "b", attempt=1),
    ]
    assert [(stage.stage, stage.status, stage.attempts) for stage in stages_of(retried)] == [
        ("a", "done", 2),
        ("b", "unfinished", 1),
    ]
    killed = retried[:3]
    assert [(stage.status, stage.attempts) for stage in stages_of(killed)] == [("unfinished", 2)]
    assert [stage.status for stage in stages_of(retried[:2])] == ["failed"]
