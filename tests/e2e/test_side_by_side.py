"""Several commands on one home at the same time, on each profile: each ends as if it were alone."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from geo_platform.settings import Profile
from tests.support.command import ROOT, SAMPLES, environment
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import ProfileUnderTest

pytestmark = DAGSTER_S_WARNINGS

RASTER, VECTOR = SAMPLES / "san_francisco_landsat7.tif", SAMPLES / "natural_earth_countries.shp.zip"


def _ingest_in_parallel(
    sources: list[Path], home: Path, extra: Mapping[str, str]
) -> list[tuple[int, dict[str, Any]]]:
    command = [str(Path(sys.executable).with_name("geo-platform")), "ingest", "--json"]
    started = [
        subprocess.Popen(
            [*command, str(source)],
            cwd=ROOT,
            env=environment(home, extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for source in sources
    ]
    ended = [(process, *process.communicate(timeout=240)) for process in started]
    assert all("Traceback" not in stderr for _, _, stderr in ended)
    return [(process.returncode, json.loads(stdout)) for process, stdout, _ in ended]


@pytest.mark.parametrize(
    ("profile", "files"),
    [
        pytest.param(Profile.embedded, 3, id="embedded-three"),
        pytest.param(Profile.embedded, 6, id="embedded-six", marks=pytest.mark.slow),
        pytest.param(Profile.production, 6, id="production-six", marks=pytest.mark.slow),
    ],
    indirect=["profile"],
)
def test_several_files_on_a_new_home(files: int, tmp_path: Path, profile: ProfileUnderTest) -> None:
    """Several commands would create Dagster's tables at the same time, unless that is prevented."""
    home = tmp_path / "home"
    samples = ([RASTER, VECTOR] * files)[:files]
    sources = [
        tmp_path / f"{number}{''.join(sample.suffixes)}" for number, sample in enumerate(samples)
    ]
    for source, sample in zip(sources, samples, strict=True):
        shutil.copyfile(sample, source)
    answers = _ingest_in_parallel(sources, home, profile.environment)
    assert [(code, answer["outcome"], answer["error"]) for code, answer in answers] == [
        (0, "published", None)
    ] * files
    listed = json.loads(
        geo_platform_here("list", "--json", home=home, extra=profile.environment).stdout
    )
    assert {entry["run_id"] for entry in listed} == {answer["run_id"] for _, answer in answers}


@pytest.mark.parametrize(
    ("profile", "source"),
    [
        pytest.param(Profile.embedded, RASTER, id="embedded-raster"),
        pytest.param(Profile.production, VECTOR, id="production-vector"),
        pytest.param(Profile.embedded, VECTOR, id="embedded-vector", marks=pytest.mark.slow),
        pytest.param(Profile.production, RASTER, id="production-raster", marks=pytest.mark.slow),
    ],
    indirect=["profile"],
)
def test_one_file_twice_is_published_once(
    source: Path, tmp_path: Path, profile: ProfileUnderTest
) -> None:
    home = tmp_path / "home"
    answers = _ingest_in_parallel([source, source], home, profile.environment)
    assert [(code, answer["error"]) for code, answer in answers] == [(0, None)] * 2
    assert {answer["outcome"] for _, answer in answers} <= {"published", "unchanged"}
    assert (
        len(
            json.loads(
                geo_platform_here("list", "--json", home=home, extra=profile.environment).stdout
            )
        )
        == 1
    )
    one, other = (answer["outputs"] for _, answer in answers)
    assert one == other
