"""Outcomes are one line of JSON whatever a file is called; the worst sets the exit code."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.cli.outcome import CommandOutcome, SourceOutcome, exit_code, outcome_of, printable
from geo_platform.errors import CrsMissing, MemoryExceeded, StoreUnavailable


def _answer(outcome: CommandOutcome, source: str = "a.tif") -> SourceOutcome:
    return SourceOutcome(source=source, kind="raster", outcome=outcome, run_id=None, item=None)


@given(st.text() | st.just("bad\udcff.tif"))
def test_any_file_name_is_one_line_of_ascii_and_can_be_read_back(name: str) -> None:
    line = _answer(CommandOutcome.refused, name).as_json()
    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line)["source"] == name


@given(st.text())
def test_printed_text_has_no_control_characters(name: str) -> None:
    assert printable(name).isprintable()


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([], 0),
        ([CommandOutcome.published, CommandOutcome.unchanged], 0),
        ([CommandOutcome.published, CommandOutcome.refused], 1),
        ([CommandOutcome.refused, CommandOutcome.failed, CommandOutcome.published], 3),
    ],
)
def test_the_worst_outcome_sets_the_exit_code(outcomes: list[CommandOutcome], code: int) -> None:
    assert exit_code(outcomes) == code


def test_errors_that_the_user_can_fix_are_refusals_and_others_failures() -> None:
    assert outcome_of(CrsMissing("x").as_record()) is CommandOutcome.refused
    assert outcome_of(MemoryExceeded("x").as_record()) is CommandOutcome.refused
    assert outcome_of(StoreUnavailable("x").as_record()) is CommandOutcome.failed
