"""`versions`, and what `unpublish`, `rollback` and `cleanup` print before they launch a run."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from geo_platform.cli.main import main
from geo_platform.storage.local.stac_files import StacFiles
from tests.support.publications import COLLECTION, item


@pytest.fixture
def home(tmp_path: Path) -> Path:
    catalog = StacFiles(tmp_path / "home")
    catalog.publish(COLLECTION, item(updated="2026-01-01T00:00:00Z"), replaces=None)
    catalog.publish(COLLECTION, item(version="v2", updated="2026-01-02T00:00:00Z"), replaces="v1")
    catalog.publish({**COLLECTION, "id": "others"}, item(collection="others"), replaces=None)
    catalog.unpublish("others", "scene", published="v1")
    catalog.publish(COLLECTION, item("gone"), replaces=None)
    catalog.unpublish("rasters", "gone", published="v1")
    return tmp_path / "home"


def run(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        main, ["--home", str(home), "--application-root", str(home), *arguments]
    )


def test_versions_are_printed_as_json_or_as_lines(home: Path) -> None:
    rows = json.loads(run(home, "versions", "rasters/scene", "--json").stdout)
    assert [
        (row["run_id"], row["fingerprint"], row["first_published"], row["withdrawn_at_utc"] is None)
        for row in rows
    ] == [
        ("run of v2", "v2", "2026-01-02T00:00:00Z", True),
        ("run of v1", "v1", "2026-01-01T00:00:00Z", False),
    ]
    lines = run(home, "versions", "rasters/scene").stdout.splitlines()
    assert [("run of v2" in line, "published now" in line) for line in lines[1:]] == [
        (True, True),
        (False, False),
    ]


def test_an_unpublished_item_still_has_versions(home: Path) -> None:
    assert [
        row["run_id"] for row in json.loads(run(home, "versions", "gone", "--json").stdout)
    ] == ["run of v1"]


@pytest.mark.parametrize("command", ["unpublish", "rollback", "versions"])
def test_an_unknown_item_is_refused_with_a_message(command: str, home: Path) -> None:
    asked = run(home, command, "nowhere")
    assert asked.exit_code == 1
    assert asked.stderr.startswith("SOURCE_NOT_FOUND: No item nowhere is published")
    assert run(home, command, "a/b/c").stderr.startswith("PARAMETER_INVALID")


def test_an_item_that_is_not_published_cannot_be_unpublished(home: Path) -> None:
    assert run(home, "unpublish", "gone").exit_code == 1


@pytest.mark.parametrize("command", ["rollback", "versions"])
def test_an_id_in_two_collections_needs_its_collection(command: str, home: Path) -> None:
    asked = run(home, command, "scene")
    assert asked.exit_code == 2
    assert "others/scene, rasters/scene" in asked.stderr


@pytest.mark.parametrize(
    "arguments", [["unpublish", "rasters/scene"], ["rollback", "rasters/scene"], ["cleanup"]]
)
def test_a_command_that_needs_the_jobs_says_where_to_find_them(
    arguments: list[str], home: Path
) -> None:
    asked = run(home, *arguments)
    assert asked.exit_code == 2
    assert "--application-root" in asked.stderr


def test_a_dry_run_lists_what_would_be_removed(home: Path) -> None:
    printed = json.loads(
        run(home, "cleanup", "--dry-run", "--older-than-days", "0", "--json").stdout
    )
    assert (printed["outcome"], sorted(printed["versions"])) == (
        "planned",
        [
            "others/scene of run run of v1",
            "rasters/gone of run run of v1",
            "rasters/scene of run run of v1",
        ],
    )
    assert run(home, "cleanup", "--dry-run", "--older-than-days", "0").stdout.startswith(
        "Would remove 3 versions, 0 files, 0 staged tables"
    )
    assert json.loads(run(home, "cleanup", "--dry-run", "--json").stdout)["versions"] == []
    assert len(list(StacFiles(home).versions())) == 3
