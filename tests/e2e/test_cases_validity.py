"""Rasters whose missing pixels or headers once went wrong: the COG, its item and its pictures.

Results are read with GDAL's tools and plain rasterio.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from shapely.geometry import shape

from tests.support import outputs
from tests.support.cases import CASES
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import PRODUCTION_IS_SLOW, ProfileUnderTest
from tests.support.skipping import cannot_run

pytestmark = DAGSTER_S_WARNINGS

NAMES = (
    "coast.tif",
    "no_nodata.asc",
    "intbig.asc",
    "u64.tif",
    "palette_alpha.png",
    "rgb_trns_cream.png",
    "rgb_mask_nodata.tif",
    "rgbn_alpha.tif",
    "n12.tif",
    "phototif.tif",
)


class Results:
    """What an ingest of all cases published."""

    def __init__(self, profile: ProfileUnderTest, folder: Path) -> None:
        self.profile, self.home = profile, folder / "home"
        source = folder / "in"
        source.mkdir()
        for path in CASES.iterdir():
            if path.stem in {Path(name).stem for name in NAMES}:
                shutil.copy(path, source)
        ended = geo_platform_here(
            "ingest", "--json", source, home=self.home, extra=profile.environment
        )
        self.standard_error = ended.stderr
        self.answers: dict[str, Mapping[str, Any]] = {
            Path(line["source"]).name: line for line in ended.lines
        }

    @contextmanager
    def cog(self, name: str) -> Iterator[Path]:
        with outputs.output(self.profile, self.home, self.answers[name], ".tif") as path:
            yield path

    def item(self, name: str) -> Mapping[str, Any]:
        item = self.profile.catalog(self.home).item("rasters", self.answers[name]["item"])
        assert item is not None
        return item

    def band(self, name: str, number: int = 1) -> Mapping[str, Any]:
        """Return the description of a band of the COG in the STAC item."""
        assets = self.item(name)["assets"].values()
        bands = next(asset["bands"] for asset in assets if "bands" in asset)
        return dict(bands[number - 1])

    def opaque(self, name: str) -> NDArray[np.bool_]:
        """Return where the preview is not transparent."""
        answer = self.answers[name]
        with (
            outputs.output(self.profile, self.home, answer, ".webp") as path,
            rasterio.open(path) as picture,
        ):
            if picture.count < 4:
                return np.ones(picture.shape, dtype=np.bool_)
            return np.asarray(picture.read(4) > 0)


def gdal_mask(dataset: Any, band: int = 1) -> NDArray[np.bool_]:
    return np.asarray(dataset.read_masks(band) > 0)


def gdalinfo(path: Path) -> Mapping[str, Any]:
    tool = shutil.which("gdalinfo")
    if tool is None:
        cannot_run("gdalinfo is not installed")
    ended = subprocess.run([tool, "-json", path], capture_output=True, text=True, check=True)
    return dict(json.loads(ended.stdout))


@PRODUCTION_IS_SLOW
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_validity_means_one_thing(tmp_path: Path, profile: ProfileUnderTest) -> None:
    results = Results(profile, tmp_path)
    ended = {name: (answer["outcome"], answer["error"]) for name, answer in results.answers.items()}
    assert ended == dict.fromkeys(NAMES, ("published", None))
    assert "Warning" not in results.standard_error

    _nan_without_nodata(results)
    _ascii_grids(results)
    _nodata_of_64_bits(results)
    _transparent_colors(results)
    _mask_and_nodata(results)
    _alpha_as_fifth_band(results)
    _headers(results)


def _source(name: str) -> Any:
    return rasterio.open(CASES / name)


def _nan_without_nodata(results: Results) -> None:
    with results.cog("coast.tif") as path, _source("coast.tif") as source:
        valid = ~np.isnan(source.read(1))
        with rasterio.open(path) as cog:
            np.testing.assert_array_equal(cog.read(1)[valid], source.read(1)[valid])
            np.testing.assert_array_equal(gdal_mask(cog), valid)
            levels = len(cog.overviews(1))
        for level in range(levels):
            with rasterio.open(path, OVERVIEW_LEVEL=level) as overview:
                side = 2 ** (level + 1)
                rows, cols = overview.shape
                of_blocks = valid.reshape(rows, side, cols, side).any(axis=(1, 3))
                np.testing.assert_array_equal(gdal_mask(overview), of_blocks)
                assert np.isfinite(overview.read(1)[of_blocks]).all()
        assert gdalinfo(path)["bands"][0]["noDataValue"] in ("NaN", "nan")
    assert results.band("coast.tif")["nodata"] == "nan"
    assert 0 < results.opaque("coast.tif").mean() < 0.05
    outline = shape(results.item("coast.tif")["geometry"])
    whole = np.ptp(np.reshape(outline.bounds, (2, 2)), axis=0).prod()
    assert outline.area < 0.1 * 0.0084
    assert whole <= 0.0084


def _ascii_grids(results: Results) -> None:
    with results.cog("no_nodata.asc") as path, rasterio.open(path) as cog:
        assert cog.nodata == -9999
        assert cog.read(1, masked=True).tolist() == [[100, 101, None], [103, None, 105]]
    findings = results.item("no_nodata.asc")["properties"]["geo_platform:warnings"]
    assert "NODATA_ASSUMED" in [finding["code"] for finding in findings]
    with results.cog("intbig.asc") as path, rasterio.open(path) as cog:
        assert cog.read(1, masked=True).tolist() == [
            [3_000_000_000, 5_000_000_000, None],
            [1, 2, 3],
        ]
    assert results.band("intbig.asc")["statistics"]["maximum"] == 5_000_000_000


def _nodata_of_64_bits(results: Results) -> None:
    with results.cog("u64.tif") as path, rasterio.open(path) as cog, _source("u64.tif") as source:
        np.testing.assert_array_equal(cog.read(), source.read())
        valid = source.read(1) != 2**64 - 1
        np.testing.assert_array_equal(gdal_mask(cog), valid)
        # Both spellings of GDAL; a float would end in 616.
        assert int(gdalinfo(path)["bands"][0]["noDataValue"]) == 2**64 - 1
    band = results.band("u64.tif")
    assert band["nodata"] == 2**64 - 1
    assert band["statistics"]["maximum"] < 10_000
    np.testing.assert_array_equal(results.opaque("u64.tif"), valid)


def _transparent_colors(results: Results) -> None:
    with (
        results.cog("palette_alpha.png") as path,
        rasterio.open(path) as cog,
        _source("palette_alpha.png") as source,
    ):
        classes = source.read(1)
        np.testing.assert_array_equal(cog.read(1), classes)
        assert [cog.colormap(1)[value][:3] for value in (1, 3)] == [(255, 0, 0), (0, 255, 0)]
        np.testing.assert_array_equal(gdal_mask(cog), np.isin(classes, (1, 3)))
    np.testing.assert_array_equal(results.opaque("palette_alpha.png"), np.isin(classes, (1, 3)))
    with (
        results.cog("rgb_trns_cream.png") as path,
        rasterio.open(path) as cog,
        _source("rgb_trns_cream.png") as source,
    ):
        colors = source.read()
        np.testing.assert_array_equal(cog.read(), colors)
        is_cream = (colors == np.array([250, 240, 230])[:, None, None]).all(axis=0)
        for band in (1, 2, 3):
            np.testing.assert_array_equal(gdal_mask(cog, band), ~is_cream)
    np.testing.assert_array_equal(results.opaque("rgb_trns_cream.png"), ~is_cream)


def _mask_and_nodata(results: Results) -> None:
    name = "rgb_mask_nodata.tif"
    with results.cog(name) as path, rasterio.open(path) as cog, _source(name) as source:
        np.testing.assert_array_equal(cog.read(), source.read())
        np.testing.assert_array_equal(gdal_mask(cog), gdal_mask(source))
        valid = gdal_mask(source)
        assert cog.nodata == 0
    np.testing.assert_array_equal(results.opaque(name), valid)
    percent = results.band(name)["statistics"]["valid_percent"]
    assert percent == pytest.approx(100 * valid.mean(), abs=0.01)


def _alpha_as_fifth_band(results: Results) -> None:
    name = "rgbn_alpha.tif"
    with results.cog(name) as path, rasterio.open(path) as cog, _source(name) as source:
        np.testing.assert_array_equal(cog.read(), source.read())
        valid = source.read(5) > 0
        for band in (1, 2, 3, 4):
            np.testing.assert_array_equal(gdal_mask(cog, band), valid)
        reds = source.read(1)[valid]
        whole = shape(results.item(name)["geometry"]).envelope
        assert [color.name for color in cog.colorinterp][4] == "alpha"
    np.testing.assert_array_equal(results.opaque(name), valid)
    figures = results.band(name)["statistics"]
    assert (figures["minimum"], figures["maximum"]) == (reds.min(), reds.max())
    assert figures["valid_percent"] == pytest.approx(100 * valid.mean(), abs=0.01)
    assert shape(results.item(name)["geometry"]).area <= whole.area


def _headers(results: Results) -> None:
    for name in ("n12.tif", "phototif.tif"):
        with results.cog(name) as path, rasterio.open(path) as cog, _source(name) as source:
            np.testing.assert_array_equal(cog.read(), source.read())
            assert cog.transform.almost_equals(source.transform)
            if name == "phototif.tif":
                assert cog.crs.to_epsg() == 25832
