"""`geo-platform quarantine` without Dagster and without the application root."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from geo_platform.arrivals.quarantine import Refusal, present_arrival, quarantine
from geo_platform.cli.main import main
from geo_platform.ports import BRONZE, QUARANTINE
from geo_platform.storage.local.folder import FolderStore

MOVED = datetime(2026, 6, 1, 12, tzinfo=UTC)


def refuse(store: FolderStore, key: str, run_id: str) -> None:
    store.put_bytes(BRONZE, key, b"pixels", metadata={})
    present = present_arrival(store, BRONZE, key)
    assert present is not None
    refusal = Refusal(
        "CRS_MISSING", f"'{key}' says none.", "Give one with input_crs.", run_id, "scenes"
    )
    quarantine(store, BRONZE, key, present[0].etag, refusal, now_utc=MOVED)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    made = FolderStore(tmp_path / "home" / "store")
    made.put_bytes(BRONZE, "dem/a.tfw", b"world", metadata={})
    refuse(made, "dem/a.tif", "run 1")
    refuse(made, "b.tif", "run 2")
    return made


def run(store: FolderStore, *arguments: str) -> Result:
    home = store.root.parent
    return CliRunner().invoke(
        main, ["--home", str(home), "--application-root", str(home), "quarantine", *arguments]
    )


def test_a_list_for_people_and_for_programs(store: FolderStore) -> None:
    lines = run(store, "list").stdout.splitlines()
    assert [line.split() for line in lines[1:3]] == [
        ["b.tif", "CRS_MISSING", "run", "2", "2026-06-01", "12:00:00Z"],
        ["dem/a.tif", "CRS_MISSING", "run", "1", "2026-06-01", "12:00:00Z"],
    ]
    assert lines[-1] == (
        "Show the reason and the remedy of a file: geo-platform quarantine show KEY"
    )
    rows = json.loads(run(store, "list", "--json").stdout)
    assert [(row["key"], row["remedy"], row["parts"], row["replaced_run_id"]) for row in rows] == [
        ("b.tif", "Give one with input_crs.", ["b.tif"], None),
        ("dem/a.tif", "Give one with input_crs.", ["dem/a.tif", "dem/a.tfw"], None),
    ]


def test_show_prints_the_reason_and_the_remedy(store: FolderStore) -> None:
    refuse(store, "b.tif", "run 3")
    shown = run(store, "show", "b.tif").stdout
    assert "CRS_MISSING: 'b.tif' says none.\n  What to do: Give one with input_crs.\n" in shown
    assert "It replaced the object that run run 2 had refused: CRS_MISSING." in shown
    assert "geo-platform quarantine release b.tif" in shown
    document = json.loads(run(store, "show", "b.tif", "--json").stdout)
    assert (document["schema_version"], document["run_id"], document["replaced"]["run_id"]) == (
        1,
        "run 3",
        "run 2",
    )


def test_one_command_releases_one_object(store: FolderStore) -> None:
    done = run(store, "release", "dem/a.tif")
    assert (
        done.stdout
        == "dem/a.tif is back in bronze with 1 sidecar. The sensor of its watch requests a run.\n"
    )
    assert store.read_bytes(BRONZE, "dem/a.tif") == b"pixels"
    assert [row["key"] for row in json.loads(run(store, "list", "--json").stdout)] == ["b.tif"]


def test_one_refusal_does_not_stop_the_release_of_the_others(store: FolderStore) -> None:
    store.put_bytes(BRONZE, "b.tif", b"newer", metadata={})
    done = run(store, "release", "--all")
    assert done.exit_code == 1
    assert done.stderr.startswith(
        "b.tif: CONFLICT: A newer object exists at the original key: bronze/b.tif. Use --replace"
    )
    assert done.stdout.startswith("dem/a.tif is back in bronze")
    (answer,) = json.loads(run(store, "release", "--all", "--replace", "--json").stdout)
    assert (answer["outcome"], answer["key"], store.read_bytes(BRONZE, "b.tif")) == (
        "released",
        "b.tif",
        b"pixels",
    )
    assert run(store, "release", "--all").stdout == "Quarantine is empty.\n"
    assert run(store, "list").stdout == "Quarantine is empty.\n"


def test_a_release_that_is_impossible_is_refused_with_a_message(store: FolderStore) -> None:
    for command in ("show", "release"):
        asked = run(store, command, "nowhere.tif")
        assert (
            asked.exit_code,
            "SOURCE_NOT_FOUND: Quarantine has no object 'nowhere.tif'." in asked.stderr,
        ) == (1, True)
    assert (
        json.loads(run(store, "release", "nowhere.tif", "--json").stdout)["error"]["code"]
        == "SOURCE_NOT_FOUND"
    )
    assert run(store, "release").exit_code == run(store, "release", "b.tif", "--all").exit_code == 2


def test_an_unreadable_record_is_listed(store: FolderStore) -> None:
    store.put_bytes(QUARANTINE, "b.tif.quarantine.json", b"{", metadata={})
    assert "cannot be read" in run(store, "list").stdout
    assert "cannot be read" in json.loads(run(store, "list", "--json").stdout)[0]["fault"]
    assert run(store, "release", "b.tif").exit_code == 3


def test_dagster_is_not_needed(store: FolderStore) -> None:
    command = (
        "import sys; sys.modules['dagster'] = None; from geo_platform.cli.main import main; "
        f"main(['--home', {str(store.root.parent)!r}, 'quarantine', 'release', 'b.tif'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.startswith("b.tif is back in bronze")) == (0, True), (
        done.stderr
    )
