"""The main job on each profile: real files, the real command, real Dagster.

Other processes make and list the results of the two samples; further commands run in the test's
own.
"""

import json
import shutil
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rio_cogeo import cog_validate

from geo_platform.ports import SILVER
from tests.support import outputs
from tests.support.command import SAMPLES, Ended, geo_platform
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import PRODUCTION_IS_SLOW, ProfileUnderTest

pytestmark = DAGSTER_S_WARNINGS

SRTM = SAMPLES / "sierra_nevada_srtm.tif"
COUNTRIES = SAMPLES / "natural_earth_countries.shp.zip"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, module_profile: ProfileUnderTest) -> Path:
    return tmp_path_factory.mktemp(f"main-job-{module_profile.profile}") / "home"


@pytest.fixture(scope="module")
def first(home: Path, module_profile: ProfileUnderTest) -> Ended:
    return geo_platform(
        "ingest", "--json", SRTM, COUNTRIES, home=home, extra=module_profile.environment
    )


class TestBothSamples:
    def test_both_are_published_and_standard_output_has_nothing_else(self, first: Ended) -> None:
        assert first.exit_code == 0, first.stderr
        assert [line["outcome"] for line in first.lines] == ["published", "published"]
        assert [line["kind"] for line in first.lines] == ["raster", "vector"]
        fields = ["source", "kind", "outcome", "run_id", "item", "outputs", "error", "seconds"]
        assert all(list(line) == fields and line["error"] is None for line in first.lines)

    def test_the_cog_is_valid_and_has_the_pixels_of_the_source(
        self, first: Ended, home: Path, module_profile: ProfileUnderTest
    ) -> None:
        with outputs.output(module_profile, home, first.lines[0], ".tif") as cog:
            valid, errors, _ = cog_validate(cog, strict=True)
            assert valid, errors
            with rasterio.open(cog) as written, rasterio.open(SRTM) as source:
                assert written.crs == source.crs
                assert np.array_equal(written.read(), source.read())

    def test_the_dataset_has_every_row_of_the_source(
        self, first: Ended, home: Path, module_profile: ProfileUnderTest
    ) -> None:
        written, source = (
            outputs.frame(module_profile, home, first.lines[1]),
            gpd.read_file(COUNTRIES),
        )
        assert sorted(written["name"]) == sorted(source["name"])
        assert written.crs == source.crs
        assert written.geometry.is_valid.all()

    def test_both_are_listed_newest_first_with_their_runs(
        self, first: Ended, home: Path, module_profile: ProfileUnderTest
    ) -> None:
        listed = json.loads(
            geo_platform("list", "--json", home=home, extra=module_profile.environment).stdout
        )
        assert [entry["id"] for entry in listed] == [line["item"] for line in reversed(first.lines)]
        assert [entry["run_id"] for entry in listed] == [
            line["run_id"] for line in reversed(first.lines)
        ]
        assert all(
            {"id", "collection", "run_id", "source", "outputs"} <= set(entry) for entry in listed
        )

    def test_a_second_ingest_is_unchanged_and_returns_the_first_run(
        self, first: Ended, home: Path, module_profile: ProfileUnderTest
    ) -> None:
        again = geo_platform_here(
            "ingest", "--json", SRTM, COUNTRIES, home=home, extra=module_profile.environment
        )
        assert again.exit_code == 0
        assert [line["outcome"] for line in again.lines] == ["unchanged", "unchanged"]
        assert [line["run_id"] for line in again.lines] == [line["run_id"] for line in first.lines]
        assert [line["outputs"] for line in again.lines] == [
            line["outputs"] for line in first.lines
        ]

    def test_status_of_a_run_and_an_item_are_shown(
        self, first: Ended, home: Path, module_profile: ProfileUnderTest
    ) -> None:
        raster, extra = first.lines[0], module_profile.environment
        status = json.loads(
            geo_platform_here("status", raster["run_id"], "--json", home=home, extra=extra).stdout
        )
        assert status["status"] == "success"
        assert set(status["stage_seconds"]) >= {
            "raw_raster",
            "raster_profile",
            "raster_cog",
            "raster_item",
            "raster_cog_cog_valid",
        }
        item = json.loads(
            geo_platform_here("show", raster["item"], "--json", home=home, extra=extra).stdout
        )
        assert item["type"] == "Feature"
        assert item["properties"]["geo_platform:run_id"] == raster["run_id"]

    def test_every_log_line_has_the_run_id_and_no_scratch_is_left(
        self, first: Ended, home: Path
    ) -> None:
        lines = [
            json.loads(line) for line in (home / "logs" / "platform.jsonl").read_text().splitlines()
        ]
        assert {line["run_id"] for line in lines if "stage" in line} == {
            line["run_id"] for line in first.lines
        }
        started = [line["stage"] for line in lines if line.get("checkpoint") == "STAGE_START"]
        assert started[:4] == ["raw_raster", "raster_profile", "raster_cog", "raster_item"]
        assert not list((home / "scratch").iterdir()), "of either profile"


@PRODUCTION_IS_SLOW
def test_force_other_options_and_another_source_run_again(
    tmp_path: Path, profile: ProfileUnderTest
) -> None:
    home, source, extra = tmp_path / "home", tmp_path / "hills.tif", profile.environment
    shutil.copyfile(SAMPLES / "san_francisco_landsat7.tif", source)
    runs = [
        geo_platform_here("ingest", "--json", source, home=home, extra=extra),
        geo_platform_here("ingest", "--json", source, "--force", home=home, extra=extra),
        geo_platform_here(
            "ingest", "--json", source, "--compression", "deflate", home=home, extra=extra
        ),
    ]
    with rasterio.open(source, "r+") as dataset:
        dataset.write(np.full((10, 10), 99, dtype="uint8"), 1, window=((0, 10), (0, 10)))
    runs.append(
        geo_platform_here(
            "ingest", "--json", source, "--compression", "deflate", home=home, extra=extra
        )
    )
    assert [run.lines[0]["outcome"] for run in runs] == ["published"] * 4, [
        run.lines for run in runs
    ]
    assert len({run.lines[0]["run_id"] for run in runs}) == 4
    assert len(json.loads(geo_platform_here("list", "--json", home=home, extra=extra).stdout)) == 1
    with (
        outputs.output(profile, home, runs[-1].lines[0], ".tif") as cog,
        rasterio.open(cog) as written,
    ):
        assert written.read(1)[:10, :10].min() == written.read(1)[:10, :10].max() == 99


def test_a_refusal_has_its_reason_and_other_files_continue(
    tmp_path: Path, profile: ProfileUnderTest
) -> None:
    home, folder, extra = tmp_path / "home", tmp_path / "in", profile.environment
    folder.mkdir()
    (folder / "letter.tif").write_text("Dear reader, this is no raster.")
    (folder / "empty.gpkg").write_bytes(b"")
    shutil.copyfile(COUNTRIES, folder / "countries.zip")
    ended = geo_platform_here(
        "ingest", "--json", folder, tmp_path / "nowhere.tif", home=home, extra=extra
    )
    answers = {Path(line["source"]).name: line for line in ended.lines}
    assert ended.exit_code == 1
    assert answers["letter.tif"]["error"]["code"] == "UNSUPPORTED_FORMAT"
    assert answers["empty.gpkg"]["error"]["code"] == "SOURCE_EMPTY"
    assert answers["nowhere.tif"]["error"]["code"] == "SOURCE_NOT_FOUND"
    assert answers["countries.zip"]["outcome"] == "published"
    refused = [line for line in ended.lines if line["outcome"] == "refused"]
    assert all(
        line["error"]["remedy"] and not line["error"]["retryable"] and line["outputs"] == []
        for line in refused
    )
    assert "Traceback" not in ended.stdout + ended.stderr


def test_a_refusal_inside_a_run_leaves_nothing_behind(
    tmp_path: Path, profile: ProfileUnderTest
) -> None:
    home, source, extra = tmp_path / "home", tmp_path / "nowhere-on-earth.tif", profile.environment
    shape = {
        "driver": "GTiff",
        "width": 16,
        "height": 16,
        "count": 1,
        "dtype": "uint8",
        "transform": rasterio.Affine(1, 0, 0, 0, -1, 16),
    }
    with rasterio.open(source, "w", **shape) as dataset:
        dataset.write(np.arange(256, dtype="uint8").reshape(1, 16, 16))
    ended = geo_platform_here("ingest", "--json", source, home=home, extra=extra)
    (answer,) = ended.lines
    assert (ended.exit_code, answer["outcome"], answer["error"]["code"]) == (
        1,
        "refused",
        "CRS_MISSING",
    )
    assert not list(profile.objects(home).list(SILVER))
    assert geo_platform_here("list", "--json", home=home, extra=extra).stdout.strip() == "[]"
    status = geo_platform_here("status", answer["run_id"], "--json", home=home, extra=extra)
    assert json.loads(status.stdout)["error"]["code"] == "CRS_MISSING"
    given = geo_platform_here(
        "ingest", "--json", source, "--input-crs", "EPSG:32631", home=home, extra=extra
    )
    assert given.lines[0]["outcome"] == "published"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--jpeg-quality", "101"],
        ["--output-tier", "gold"],
        ["--no-such-option"],
        ["--table-name", "x"],
    ],
    ids=["out of range", "no such choice", "unknown", "a vector's parameter"],
)
def test_an_invalid_parameter_is_a_usage_error(arguments: list[str], tmp_path: Path) -> None:
    ended = geo_platform_here("ingest", SRTM, *arguments, home=tmp_path / "home", extra={})
    assert ended.exit_code == 2
    assert arguments[0] in ended.stderr
    assert "Traceback" not in ended.stderr
