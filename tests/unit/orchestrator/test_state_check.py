"""Which records of a run and its item disagree, decided on plain facts."""

from dataclasses import replace

import dagster as dg
import pytest

from geo_platform.orchestrator.state_check import FinishedRun, ItemFacts, mismatches

STATUS = dg.DagsterRunStatus
SUCCEEDED = FinishedRun(
    "own", STATUS.SUCCESS, STATUS.SUCCESS, ("rasters", "scene"), publisher="own"
)
FAILED = replace(SUCCEEDED, status=STATUS.FAILURE, last_event=STATUS.FAILURE, publisher=None)


@pytest.mark.parametrize(
    ("run", "item"),
    [
        (SUCCEEDED, ItemFacts("own")),
        (SUCCEEDED, ItemFacts("next", changed_since=True)),
        (SUCCEEDED, ItemFacts(None, changed_since=True)),
        (replace(SUCCEEDED, publisher="earlier"), ItemFacts("earlier")),
        (replace(SUCCEEDED, place=None, publisher=None), None),
        (FAILED, ItemFacts("earlier")),
        (FAILED, ItemFacts(None)),
        (replace(FAILED, has_published=True), ItemFacts("own")),
        (replace(FAILED, status=STATUS.CANCELED, last_event=STATUS.CANCELED, place=None), None),
    ],
)
def test_records_that_agree_are_no_mismatch(run: FinishedRun, item: ItemFacts | None) -> None:
    assert mismatches(run, item) == ()


@pytest.mark.parametrize(
    ("run", "item", "values"),
    [
        (
            replace(SUCCEEDED, status=STATUS.STARTED),
            ItemFacts("own"),
            ("says STARTED", "event is SUCCESS"),
        ),
        (
            replace(SUCCEEDED, last_event=None),
            ItemFacts("own"),
            ("says SUCCESS", "no terminal event"),
        ),
        (
            SUCCEEDED,
            ItemFacts("other"),
            ("rasters/scene published by run own", "the item of run other"),
        ),
        (SUCCEEDED, ItemFacts(None), ("rasters/scene published by run own", "no such item")),
        (FAILED, ItemFacts("own"), ("ended as FAILURE", "rasters/scene as its item")),
    ],
)
def test_a_mismatch_names_both_values(
    run: FinishedRun, item: ItemFacts, values: tuple[str, str]
) -> None:
    (mismatch,) = mismatches(run, item)
    sentence = mismatch.sentence
    assert all(value in sentence for value in values), sentence
