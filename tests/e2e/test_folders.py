"""Ingest folders: equal names in several folders, files that are no sources, excluded folders."""

import json
from pathlib import Path

from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here

pytestmark = DAGSTER_S_WARNINGS


def _roads(folder: Path, lon: float) -> None:
    folder.mkdir(parents=True)
    line = {"type": "LineString", "coordinates": [[lon, 47.0], [lon + 0.1, 47.1]]}
    document = {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {"name": folder.name}, "geometry": line}],
    }
    (folder / "roads.geojson").write_text(json.dumps(document))


def test_two_folders_each_with_roads_are_both_published(tmp_path: Path) -> None:
    home, data = tmp_path / "home", tmp_path / "data"
    for number, folder in enumerate(["north", "south"]):
        _roads(data / folder, 11.0 + number)
    ended = geo_platform_here("ingest", "--json", data, home=home, extra={})
    assert [(line["outcome"], line["item"], line["error"]) for line in ended.lines] == [
        ("published", "north-roads", None),
        ("published", "south-roads", None),
    ]
    planned = geo_platform_here("plan", "--json", data, home=home, extra={})
    assert [line["found"]["item"] for line in planned.lines] == [
        "vectors/north-roads",
        "vectors/south-roads",
    ]
    assert [line["plan"][0]["dataset"] for line in planned.lines] == ["north_roads", "south_roads"]
    again = geo_platform_here("ingest", "--json", data, home=home, extra={})
    assert [line["outcome"] for line in again.lines] == ["unchanged", "unchanged"]


def test_results_in_the_folder_are_not_ingested(tmp_path: Path) -> None:
    data = tmp_path / "data"
    _roads(data / "north", 11.0)
    for expected in ("published", "unchanged"):
        ended = geo_platform_here(
            "--home", data / "results", "ingest", "--json", data, home=tmp_path / "unused", extra={}
        )
        assert [line["outcome"] for line in ended.lines] == [expected]


def test_a_folder_without_a_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ended = geo_platform_here(
        "ingest", "--json", tmp_path / "empty", home=tmp_path / "home", extra={}
    )
    assert (ended.exit_code, ended.stdout) == (0, "")
    assert "nothing to do" in ended.stderr


def test_an_unusable_home_is_a_platform_error(tmp_path: Path) -> None:
    _roads(tmp_path / "north", 11.0)
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster").write_text("in the way")
    ended = geo_platform_here("ingest", "--json", tmp_path / "north", home=home, extra={})
    (answer,) = ended.lines
    assert (ended.exit_code, answer["outcome"], answer["error"]["code"]) == (
        3,
        "failed",
        "STORE_DENIED",
    )
    assert "Traceback" not in ended.stderr
    status = geo_platform_here("status", "any", home=home, extra={})
    assert (status.exit_code, status.stdout) == (3, "")
    assert str(home / "dagster") in status.stderr
    (home / "dagster").unlink()
    ended = geo_platform_here("ingest", "--json", tmp_path / "north", home=home, extra={})
    assert [line["outcome"] for line in ended.lines] == ["published"]
