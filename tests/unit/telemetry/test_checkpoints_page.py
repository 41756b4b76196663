"""docs/checkpoints.md and the queries in deploy/queries/ agree with the code."""

import re
from pathlib import Path

import dagster as dg
import pytest

from geo_platform.errors import error_leaves
from geo_platform.orchestrator.stuck_causes import Cause
from geo_platform.telemetry.checkpoints import MEANING, Checkpoint
from tests.support.checkpoints_page import PAGE, checkpoints, fields_of_a_line, section
from tests.support.command import ROOT

QUERIES = sorted((ROOT / "deploy" / "queries").iterdir())
DAGSTER_NAMES = {
    *dg.DagsterEventType.__members__,
    *(kind.value for kind in dg.DagsterEventType),
    *dg.DagsterRunStatus.__members__,
}
NAME = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b")


def test_the_page_lists_every_checkpoint_with_its_meaning() -> None:
    assert [(name, meaning) for name, meaning, _ in checkpoints()] == [
        (name.value, MEANING[name]) for name in Checkpoint
    ]
    assert MEANING.keys() == set(Checkpoint)


def test_every_state_of_the_diagram_is_a_checkpoint() -> None:
    assert set(NAME.findall(section("What follows what"))) <= set(Checkpoint)


def test_the_page_and_the_formatter_list_the_same_fields() -> None:
    from geo_platform.telemetry.logs import JsonLines

    listed = (JsonLines.__doc__ or "").split(":")[1].split(". ")[0]
    documented = {name.strip().partition(".")[0] for name in listed.replace("\n", " ").split(",")}
    assert documented == set(fields_of_a_line())


def test_every_cause_of_a_stuck_run_is_on_the_page() -> None:
    assert set(re.findall(r"`RUN_STUCK (\w+)`", section("Stuck runs"))) == {
        cause.value for cause in Cause
    }


@pytest.mark.parametrize("query", QUERIES, ids=lambda path: path.name)
def test_a_query_uses_only_names_of_the_code(query: Path) -> None:
    text = query.read_text("utf-8").replace("GEO_PLATFORM_DAGSTER_POSTGRES_URL", "")
    assert set(NAME.findall(text)) <= {
        *Checkpoint,
        *DAGSTER_NAMES,
        *(leaf.code for leaf in error_leaves()),
    }
    fields = set(re.findall(r"\bline\.(\w+)", text)) | {
        name.partition(".")[0] for name in re.findall(r'customDimensions\["([\w.]+)"\]', text)
    }
    assert fields <= set(fields_of_a_line())
    assert f"`{query.name}`" in PAGE.read_text("utf-8"), "the page lists it"
