"""Rasters at limbs, poles and the antimeridian: results hold all data, and items say where it is.

What is right is computed here from the source's pixels, one by one, with rasterio and PROJ alone.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from pyproj import Transformer
from shapely.geometry import Point, shape
from shapely.prepared import prep

from tests.support import outputs
from tests.support.cases import CASES, ingest
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import PRODUCTION_IS_SLOW, ProfileUnderTest

pytestmark = DAGSTER_S_WARNINGS

DISC, MOLLWEIDE, ERA5, POINTS = "geos_disc.tif", "mollweide_world.tif", "era5.tif", "gcps_am.tif"


def _valid_places(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (lon, lat, value) of every valid pixel centre of a case."""
    with rasterio.open(CASES / name) as source:
        rows, cols = np.nonzero(source.dataset_mask())
        x, y = source.transform @ (cols + 0.5, rows + 0.5)
        if name == POINTS:
            x, y, crs = 179.5 + (cols + 0.5) * 0.01, -16 - (rows + 0.5) * 0.01, source.gcps[1]
        else:
            crs = source.crs
        to_lonlat = Transformer.from_crs(crs.to_wkt(), 4326, always_xy=True)
        lon, lat = to_lonlat.transform(x, y)
        return (lon + 180) % 360 - 180, np.clip(lat, -90, 90), source.read(1)[rows, cols]


def _assert_item_covers(
    profile: ProfileUnderTest, home: Path, answer: dict[str, Any], name: str, slack: float = 1e-5
) -> list[float]:
    """Assert that bbox and footprint hold every valid pixel; return the bbox.

    `slack`: degrees by which the footprint may miss a pixel, for example a pixel of a warped COG.
    """
    item = profile.catalog(home).item("rasters", answer["item"].rpartition("/")[2])
    assert item is not None
    west, south, east, north = bbox = item["bbox"]
    lon, lat, _ = _valid_places(name)
    on_earth = np.isfinite(lon)
    lon, lat = lon[on_earth], lat[on_earth]
    width = (east - west) % 360 or 360
    assert ((lon - west) % 360 <= width + 1e-6).all()
    assert ((lat >= south - 1e-6) & (lat <= north + 1e-6)).all()
    footprint = prep(shape(item["geometry"]).buffer(slack))
    outside = [
        (x, y)
        for x, y in zip(lon[::7].tolist(), lat[::7].tolist(), strict=True)
        if not footprint.contains(Point(x, y))
    ]
    assert not outside
    return list(bbox)


def _values_in_the_result(
    path: Path, name: str, period: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (wanted, found, valid) at the source's pixels that a target CRS can represent."""
    lon, lat, wanted = _valid_places(name)
    with rasterio.open(path) as cog:
        x, y = Transformer.from_crs(4326, cog.crs.to_wkt(), always_xy=True).transform(lon, lat)
        if period is not None:
            x = (x - cog.bounds.left + 1e-7) % period + cog.bounds.left - 1e-7
        col, row = ~cog.transform @ (x, y)
        has_place = np.isfinite(col) & np.isfinite(row)
        if cog.crs.to_epsg() == 3857:
            has_place &= np.abs(lat) < 85
        col, row = np.floor(col[has_place] + 1e-6), np.floor(row[has_place] + 1e-6)
        assert (col >= -1).all()
        assert (col <= cog.width).all()
        assert (row >= -1).all()
        assert (row <= cog.height).all()
        at = (
            np.clip(row, 0, cog.height - 1).astype(int),
            np.clip(col, 0, cog.width - 1).astype(int),
        )
        return wanted[has_place], cog.read(1)[at], cog.dataset_mask()[at] > 0


@PRODUCTION_IS_SLOW
def test_rasters_at_limbs_poles_and_the_antimeridian(
    tmp_path: Path, profile: ProfileUnderTest
) -> None:
    home, folder = tmp_path / "home", tmp_path / "in"
    folder.mkdir()
    for name in (DISC, MOLLWEIDE, ERA5, POINTS):
        shutil.copy(CASES / name, folder)
    expected = {
        DISC: [-155.8, -79.0, 5.8, 80.6],
        MOLLWEIDE: [-180, -90, 180, 90],
        ERA5: [-180, -90, 180, 90],
        POINTS: [179.5, -17.0, -179.3, -16.0],
    }
    for target in (None, "EPSG:4326", "EPSG:3857"):
        ended = geo_platform_here(
            "ingest",
            "--json",
            folder,
            *(("--target-crs", target) if target else ()),
            home=home,
            extra=profile.environment,
        )
        answers = {Path(line["source"]).name: line for line in ended.lines}
        assert {name: line["error"] for name, line in answers.items()} == dict.fromkeys(expected)
        for name, answer in answers.items():
            if target != "EPSG:3857":
                bbox = _assert_item_covers(profile, home, answer, name, 1.0 if target else 1e-5)
                tolerance = 0.02 if name == POINTS else 3.0
                assert bbox == pytest.approx(expected[name], abs=tolerance)
            if target is None and name != POINTS:
                continue
            with outputs.output(profile, home, answer, ".tif") as path:
                period = 2 * 20037508.342789244 if target == "EPSG:3857" else 360.0
                wanted, found, valid = _values_in_the_result(path, name, period)
                # Rims of valid data lose up to a pixel.
                assert valid.mean() > 0.97
                step = {DISC: 3.0, MOLLWEIDE: 3.0, ERA5: 3.0, POINTS: 130.0}[name]
                near = np.abs(wanted.astype(float) - found)[valid] <= step
                assert near.mean() > 0.95
                if name == POINTS and target != "EPSG:3857":
                    with rasterio.open(path) as cog:
                        assert cog.bounds == pytest.approx((179.5, -17, 180.7, -16), abs=0.02)
                        assert cog.shape == (100, 120)


@PRODUCTION_IS_SLOW
def test_rows_on_the_poles_into_a_map_of_the_world(
    tmp_path: Path, profile: ProfileUnderTest
) -> None:
    home = tmp_path / "home"
    answer = ingest(profile, home, ERA5, "--target-crs", "ESRI:54030")
    assert answer["error"] is None
    assert _assert_item_covers(profile, home, answer, ERA5, 1.0) == pytest.approx(
        [-180, -90, 180, 90]
    )
    with outputs.output(profile, home, answer, ".tif") as path:
        wanted, found, valid = _values_in_the_result(path, ERA5, None)
        assert valid.mean() > 0.99
        # Longitudes differ by a whole circle at the antimeridian.
        near = np.abs((wanted - found + 180) % 360 - 180)[valid] <= 5
        assert near.mean() > 0.97
        with rasterio.open(path) as cog:
            mask = cog.dataset_mask() > 0
            assert mask.mean() == pytest.approx(0.87, abs=0.02)
            assert not mask[[0, 0, -3, -3], [0, -1, 0, -1]].any()
