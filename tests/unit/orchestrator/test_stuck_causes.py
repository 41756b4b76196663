"""Why a run waits and what to do about it, decided on plain facts."""

from dataclasses import replace

import pytest

from geo_platform.orchestrator.stuck_causes import (
    Action,
    Cause,
    Limits,
    QueueState,
    TagLimit,
    WaitingRun,
    diagnose,
)

WAITING = WaitingRun(
    "waiting",
    "process_raster",
    "QUEUED",
    {"dagster/partition": "a.tif", "kind": "raster"},
    frozenset({"cog"}),
    waiting_s=600,
)
HOLDER = WaitingRun(
    "holder",
    "ingest_vector",
    "STARTED",
    {"dagster/partition": "a.tif", "kind": "vector"},
    frozenset({"table_load"}),
)
HEALTHY = QueueState(
    active=(HOLDER,),
    limits=Limits(runs=10, pools={"cog": 1}),
    daemon_silent_s=3,
    slots_of_ended_runs={},
    start_timeout_s=120,
)


def limited(**limits: object) -> QueueState:
    return replace(HEALTHY, limits=replace(HEALTHY.limits, **limits))  # type: ignore[arg-type]


@pytest.mark.parametrize("silent_s", [None, 200.0])
def test_without_a_daemon_no_other_cause_is_named(silent_s: float | None) -> None:
    found = diagnose(WAITING, replace(limited(runs=1), daemon_silent_s=silent_s))
    assert (found.cause, found.action) == (Cause.NO_QUEUE_DAEMON, Action.SAY)


@pytest.mark.parametrize(
    ("around", "named"),
    [
        (limited(runs=1), "The limit of 1 runs at once"),
        (
            limited(tags=(TagLimit("dagster/partition", None, True, 1),)),
            "the tag dagster/partition = a.tif",
        ),
        (limited(tags=(TagLimit("kind", None, False, 1),)), "the tag kind "),
    ],
)
def test_a_slot_of_a_living_run_is_named_and_not_freed(around: QueueState, named: str) -> None:
    found = diagnose(WAITING, around)
    assert (found.cause, found.action, found.runs) == (Cause.NO_FREE_SLOT, Action.SAY, ("holder",))
    assert named in found.sentence
    assert "run holder (ingest_vector)" in found.sentence


def test_a_limit_for_another_tag_or_value_is_no_cause() -> None:
    tags = (
        TagLimit("dagster/partition", "b.tif", False, 1),
        TagLimit("kind", None, True, 1),
        TagLimit("nobody", None, False, 0),
    )
    assert diagnose(WAITING, limited(tags=tags)).cause is Cause.NO_CAUSE_FOUND


def test_a_pool_that_counts_runs_is_held_by_runs_that_need_it() -> None:
    other = replace(HOLDER, run_id="other", pools=frozenset({"cog"}))
    found = diagnose(WAITING, replace(HEALTHY, active=(HOLDER, other)))
    assert (found.cause, found.runs) == (Cause.NO_FREE_SLOT, ("other",))
    assert "pool cog" in found.sentence


def test_a_pool_that_counts_steps_is_held_by_runs_with_steps_in_it() -> None:
    taken = {"cog": ("holder",), "table_load": ("unrelated",)}
    found = diagnose(WAITING, limited(pools={}, full_pools=taken))
    assert (found.cause, found.action, found.runs) == (Cause.NO_FREE_SLOT, Action.SAY, ("holder",))
    assert "The pool cog is held by run holder" in found.sentence


def test_a_slot_of_an_ended_run_is_freed() -> None:
    found = diagnose(
        WAITING,
        replace(HEALTHY, slots_of_ended_runs={"cog": ("dead",), "table_load": ("unrelated",)}),
    )
    assert (found.cause, found.action, found.runs) == (
        Cause.SLOT_OF_ENDED_RUN,
        Action.FREE_SLOTS,
        ("dead",),
    )


def test_a_run_returned_to_the_queue_points_to_its_code_location() -> None:
    found = diagnose(
        replace(WAITING, launches=2, last_error="DagsterUserCodeUnreachableError: no"), HEALTHY
    )
    assert (found.cause, found.action) == (Cause.CODE_LOCATION_UNREACHABLE, Action.SAY)
    assert found.sentence.endswith("DagsterUserCodeUnreachableError: no")


def test_a_run_that_never_starts_is_failed_only_without_run_monitoring() -> None:
    starting = replace(WAITING, status="STARTING")
    watched, unwatched = (
        diagnose(starting, HEALTHY),
        diagnose(starting, replace(HEALTHY, start_timeout_s=None)),
    )
    assert (watched.cause, watched.action) == (Cause.NO_WORKER, Action.SAY)
    assert "120 s" in watched.sentence
    assert (unwatched.cause, unwatched.action) == (Cause.NO_WORKER, Action.FAIL)


def test_a_long_list_of_holders_is_truncated() -> None:
    many = tuple(replace(HOLDER, run_id=f"r{number}") for number in range(8))
    assert "and 3 more" in diagnose(WAITING, replace(limited(runs=8), active=many)).sentence
