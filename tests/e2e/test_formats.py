"""Ingest every supported format, and use every option of each chain, on each profile.

The many commands run in the test's own process; runs and stores are real.
"""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rio_cogeo import cog_validate

from tests.support import formats, outputs
from tests.support.command import SAMPLES
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import PRODUCTION_IS_SLOW, ProfileUnderTest

pytestmark = DAGSTER_S_WARNINGS


def _same_pixels(cog: Path, pixels: np.ndarray | None) -> None:
    valid, errors, _ = cog_validate(cog, strict=True)
    assert valid, errors
    with rasterio.open(cog) as written:
        assert pixels is None or np.array_equal(written.read(), pixels)


@PRODUCTION_IS_SLOW
def test_every_raster_format(tmp_path: Path, profile: ProfileUnderTest) -> None:
    home = tmp_path / "home"
    wanted = formats.write_georeferenced_rasters(tmp_path / "in", tmp_path)
    ended = geo_platform_here(
        "ingest", "--json", tmp_path / "in", home=home, extra=profile.environment
    )
    answers = {Path(line["source"]).name: line for line in ended.lines}
    assert {
        name: (line["outcome"], line["error"]) for name, line in answers.items()
    } == dict.fromkeys(wanted, ("published", None))
    assert ended.exit_code == 0
    for name, pixels in wanted.items():
        with outputs.output(profile, home, answers[name], ".tif") as cog:
            _same_pixels(cog, pixels)
    with (
        outputs.output(profile, home, answers["N47E008.hgt"], ".tif") as cog,
        rasterio.open(cog) as tile,
    ):
        assert tile.crs.to_epsg() == 4326
        assert tile.bounds.left == pytest.approx(8, abs=1e-3)
        assert tile.bounds.bottom == pytest.approx(47, abs=1e-3)


def test_pictures_with_a_world_file_and_a_given_crs(
    tmp_path: Path, profile: ProfileUnderTest
) -> None:
    wanted = formats.write_pictures(tmp_path / "in")
    home, extra = tmp_path / "home", profile.environment
    without = geo_platform_here("ingest", "--json", tmp_path / "in", home=home, extra=extra)
    assert {line["error"]["code"] for line in without.lines} == {"CRS_MISSING"}
    ended = geo_platform_here(
        "ingest", "--json", tmp_path / "in", "--input-crs", "EPSG:32618", home=home, extra=extra
    )
    answers = {Path(line["source"]).name: line for line in ended.lines}
    assert {line["outcome"] for line in answers.values()} == {"published"}
    for name, pixels in wanted.items():
        with outputs.output(profile, home, answers[name], ".tif") as path:
            _same_pixels(path, pixels)
            with rasterio.open(path) as cog:
                assert cog.crs.to_epsg() == 32618
                assert cog.transform.almost_equals(formats.UTM)


@PRODUCTION_IS_SLOW
def test_every_vector_format(tmp_path: Path, profile: ProfileUnderTest) -> None:
    home = tmp_path / "home"
    names = formats.write_vectors(tmp_path / "in", tmp_path)
    ended = geo_platform_here(
        "ingest", "--json", tmp_path / "in", home=home, extra=profile.environment
    )
    answers = {Path(line["source"]).name: line for line in ended.lines}
    assert {
        name: (line["outcome"], line["error"]) for name, line in answers.items()
    } == dict.fromkeys(names, ("published", None))
    for line in answers.values():
        frame = outputs.frame(profile, home, line)
        name_column = next(column for column in frame.columns if column.lower() == "name")
        assert sorted(frame[name_column]) == ["a", "b", "ü"]
        assert frame.crs.to_epsg() == 4326 or frame.crs.to_authority() == ("OGC", "CRS84")
        assert frame.total_bounds == pytest.approx([1, 4, 3.2, 6.2], abs=0.6)


def test_a_table_of_wkt_needs_its_column_and_crs(tmp_path: Path, profile: ProfileUnderTest) -> None:
    table, home, extra = tmp_path / "outlines.csv", tmp_path / "home", profile.environment
    formats.write_wkt_table(table)
    assert geo_platform_here("ingest", "--json", table, home=home, extra=extra).lines[0]["error"][
        "code"
    ] in ("NO_GEOMETRY", "CRS_MISSING")
    ended = geo_platform_here(
        "ingest",
        "--json",
        table,
        "--wkt-column",
        "outline",
        "--input-crs",
        "EPSG:4326",
        home=home,
        extra=extra,
    )
    assert ended.lines[0]["outcome"] == "published"
    assert sorted(outputs.frame(profile, home, ended.lines[0])["number"]) == [1, 2, 3]


@PRODUCTION_IS_SLOW
def test_raster_options(tmp_path: Path, profile: ProfileUnderTest) -> None:
    home, extra = tmp_path / "home", profile.environment
    picture, heights = SAMPLES / "san_francisco_landsat7.tif", SAMPLES / "sierra_nevada_srtm.tif"
    tiers = geo_platform_here(
        "ingest", "--json", picture, heights, "--output-tier", "all", home=home, extra=extra
    )
    by_tier = [
        [href.split(".")[-2] for href in line["outputs"] if href.endswith(".tif")]
        for line in tiers.lines
    ]
    assert by_tier == [["analysis", "visualization", "archive"], ["analysis", "archive"]]
    with (
        outputs.output(profile, home, tiers.lines[0], ".visualization.tif") as path,
        rasterio.open(path) as jpeg,
    ):
        assert jpeg.compression.value.lower().endswith("jpeg")
        assert jpeg.mask_flag_enums[0] == [rasterio.enums.MaskFlags.per_dataset]
    moved = geo_platform_here(
        "ingest", "--json", heights, "--target-crs", "EPSG:32611", home=home, extra=extra
    )
    with (
        outputs.output(profile, home, moved.lines[0], ".tif") as path,
        rasterio.open(path) as cog,
        rasterio.open(heights) as source,
    ):
        assert cog.crs.to_epsg() == 32611
        (x,), (y,) = rasterio.warp.transform(source.crs, cog.crs, [-119.6], [37.8])
        here, there = next(cog.sample([(x, y)])), next(source.sample([(-119.6, 37.8)]))
        assert abs(int(here[0]) - int(there[0])) < 150, "the pixels were not reprojected"
    refused = geo_platform_here(
        "ingest", "--json", heights, "--output-tier", "visualization", home=home, extra=extra
    )
    assert refused.lines[0]["error"]["code"] == "RASTER_TYPE_MISMATCH"
    taken = geo_platform_here(
        "ingest", "--json", picture, "--item-id", "sierra_nevada_srtm", home=home, extra=extra
    )
    assert taken.lines[0]["error"]["code"] == "CONFLICT"


def test_vector_options(tmp_path: Path, profile: ProfileUnderTest) -> None:
    home, extra = tmp_path / "home", profile.environment
    layers = tmp_path / "layers.gpkg"
    formats.features().to_file(layers, layer="one")
    formats.features().to_file(layers, layer="two", mode="a")
    ambiguous = geo_platform_here("ingest", "--json", layers, home=home, extra=extra).lines[0][
        "error"
    ]
    assert ambiguous["code"] == "LAYER_AMBIGUOUS"
    assert "'one'" in ambiguous["message"]
    assert "'two'" in ambiguous["message"]
    options = [
        "--layer-name",
        "two",
        "--target-crs",
        "EPSG:3857",
        "--column-mapping",
        "name=title",
        "--table-name",
        "second",
    ]
    named = [
        "--item-id",
        "zwei",
        "--collection-id",
        "maps",
        "--datetime-utc",
        "2020-01-01T00:00:00Z",
    ]
    asked = geo_platform_here(
        "ingest", "--json", layers, *options, *named, home=home, extra=extra
    ).lines[0]
    assert (asked["outcome"], asked["item"]) == ("published", "zwei")
    frame = outputs.frame(profile, home, asked)
    assert frame.crs.to_epsg() == 3857
    assert sorted(frame["title"]) == ["a", "b", "ü"]
    assert frame.total_bounds[0] == pytest.approx(111319.49, abs=0.1)
    invalid = geo_platform_here(
        "ingest",
        "--json",
        layers,
        "--layer-name",
        "one",
        "--table-name",
        "select",
        home=home,
        extra=extra,
    )
    assert invalid.lines[0]["error"]["code"] == "TABLE_NAME_INVALID"
