"""A run over several files, on both profiles: the output of status, trace, doctor and retry."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from geo_platform.cli.application import Application
from geo_platform.runs import RunReport, RunRequest
from geo_platform.settings import Profile
from tests.support.command import ROOT
from tests.support.in_process import DAGSTER_S_WARNINGS, Give, commands
from tests.support.production import ProfileUnderTest

pytestmark = DAGSTER_S_WARNINGS
COUNT = 6


def points(name: str) -> bytes:
    feature = {
        "type": "Feature",
        "properties": {"name": name},
        "geometry": {"type": "Point", "coordinates": [4.0, 50.0]},
    }
    return json.dumps({"type": "FeatureCollection", "features": [feature]}).encode()


def launched(profile: ProfileUnderTest, home: Path, keys: list[str]) -> RunReport:
    files = {"files": {"files": [{"key": key} for key in keys]}}
    with Application(profile.settings(home)).launcher() as launcher:
        return launcher.run(RunRequest("ingest_files", None, None, files))


def test_refused_files_are_reported_traced_and_retried_alone(
    profile: ProfileUnderTest, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with commands(profile, home) as give:
        objects = profile.objects(home)
        keys = [f"in/p{number}.geojson" for number in range(COUNT)]
        for key in keys[1:]:
            objects.put_bytes("bronze", key, points(key), metadata={})
        objects.put_bytes("bronze", keys[0], b"{", metadata={})
        first = launched(profile, home, keys)
        assert first.error is not None
        assert (first.status, first.error["code"]) == ("failure", "FILES_REFUSED")
        check_trace(give, first.run_id, keys)
        assert [finding["code"] for finding in give("doctor")["findings"]] == []

        objects.put_bytes("bronze", keys[0], points("mended"), metadata={})
        assert give("retry", first.run_id, "--dry-run") == {
            "retry_of": first.run_id,
            "files": keys[:1],
            "run_id": None,
        }
        again = give("retry", first.run_id)
        assert (again["files"], again["error"]) == (keys[:1], None)
        assert (again["result"]["files"], again["result"]["published"]) == (1, 1)
        runs = {item["id"]: item["run_id"] for item in give("list")}
        assert sorted(runs.values()) == sorted([again["run_id"], *[first.run_id] * (COUNT - 1)])
        assert give("status", again["run_id"])["status"] == "success"
        (traced,) = give("trace", again["run_id"])["timelines"]
        assert traced["retry_of"] == first.run_id
        assert give("retry", again["run_id"])["files"] == []
        assert [finding["code"] for finding in give("doctor")["findings"]] == []


def check_trace(give: Give, run_id: str, keys: list[str]) -> None:
    """Check that each file has a stage, each log row appears once, and any source finds the run."""
    (timeline,) = give("trace", run_id)["timelines"]
    stages = {stage["stage"]: stage["status"] for stage in timeline["stages"]}
    chain = ("raw_vector", "vector_profile", "vector_features", "vector_item")
    assert {stages[f"{stage}/{key}"] for stage in chain for key in keys[1:]} == {"done"}
    assert {stage for stage, status in stages.items() if status == "failed"} == {
        "files",
        f"raw_vector/{keys[0]}",
    }
    kinds: dict[str, int] = {}
    for event in timeline["events"]:
        kinds[event["kind"]] = kinds.get(event["kind"], 0) + 1
    good = len(keys) - 1
    assert (kinds["STAGE_DONE"], kinds["MESSAGE_CREATED"], kinds["MESSAGE_STORED"]) == (
        4 * good,
        4 * good,
        4 * good,
    )
    assert (kinds["ITEM_PUBLISHED"], kinds["CATALOG_PUBLISHED"], kinds["CHECK_EVALUATED"]) == (
        good,
        good,
        4 * good,
    )
    assert timeline["error"]["code"] == "FILES_REFUSED"
    assert [other["run_id"] for other in give("trace", f"bronze/{keys[1]}")["timelines"]] == [
        run_id
    ]
    assert "STATE_MISMATCH" not in kinds


@pytest.mark.parametrize("profile", [Profile.embedded], indirect=True)
def test_a_run_of_one_file_is_retried_and_an_unknown_run_is_reported(
    profile: ProfileUnderTest, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with commands(profile, home) as give:
        objects = profile.objects(home)
        objects.put_bytes("bronze", "a.geojson", b"{", metadata={})
        with Application(profile.settings(home)).launcher() as launcher:
            options = {"vector_item": {"title": "Wells"}}
            first = launcher.run(
                RunRequest("ingest_vector", "a.geojson", "vector_objects", options)
            )
        objects.put_bytes("bronze", "a.geojson", points("a"), metadata={})
        again = give("retry", first.run_id)
        assert (again["files"], again["error"]) == (["a.geojson"], None)
        (item,) = give("list")
        assert give("show", item["id"])["properties"]["title"] == "Wells"
        error = give("retry", "0" * 8, exit_code=1)
        assert "SOURCE_NOT_FOUND" in error


_LAUNCH = """
import sys
from pathlib import Path
from geo_platform.cli.application import Application
from geo_platform.runs import RunRequest
from geo_platform.settings import load_settings
settings = load_settings().model_copy(update={"home": Path(sys.argv[1])})
with Application(settings).launcher() as launcher:
    files = [{"key": key} for key in sys.argv[2:]]
    launcher.run(RunRequest("ingest_files", None, None, {"files": {"files": files}}))
"""


@pytest.mark.parametrize("profile", [Profile.embedded], indirect=True)
def test_retry_continues_a_run_whose_process_was_killed(
    profile: ProfileUnderTest, tmp_path: Path
) -> None:
    home, keys = tmp_path / "home", [f"p{number}.geojson" for number in range(12)]
    objects, catalog = profile.objects(home), profile.catalog(home)
    for key in keys:
        objects.put_bytes("bronze", key, points(key), metadata={})
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _LAUNCH, str(home), *keys], cwd=ROOT
    )
    while len(list(catalog.entries())) < 2:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    process.kill()
    process.wait(30)
    before = {entry.item_id: (entry.run_id, entry.updated_at_utc) for entry in catalog.entries()}
    assert len(before) < len(keys)
    with commands(profile, home) as give:
        run_id = next(iter(before.values()))[0]
        again = give("retry", run_id)
        assert again["error"] is None
        assert len(keys) - len(before) <= len(again["files"]) <= len(keys) - len(before) + 1, (
            "all files without a result, including the interrupted one"
        )
        after = {entry.item_id: (entry.run_id, entry.updated_at_utc) for entry in catalog.entries()}
        assert len(after) == len(keys)
        assert {name: after[name] for name in before} == before, "published once"
        assert list(catalog.versions()) == []
        assert [finding["code"] for finding in give("doctor")["findings"]] == []
