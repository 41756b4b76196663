"""Ground control points: over the antimeridian, and on curves that no affine transform follows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from pyproj import Transformer
from rasterio.control import GroundControlPoint
from rasterio.io import MemoryFile

from geo_platform.raster.georeference import control_points
from tests.unit.raster.conftest import Chain, smooth

Place = tuple[float, float, float, float]


def x_of(places: list[Place], crs: str = "EPSG:4326") -> list[float]:
    """Return x of the control points of a raster with these (row, col, x, y)."""
    points = [GroundControlPoint(row, col, x, y) for row, col, x, y in places]
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", width=100, height=100, count=1, dtype="uint8", gcps=points, crs=crs
        ) as target:
            target.write(np.ones((1, 100, 100), dtype="uint8"))
        with memory.open() as dataset:
            return [point.x for point in control_points(dataset)]


def corners(west: float, east: float, north: float = 10.0, south: float = 0.0) -> list[Place]:
    return [
        (0, 0, west, north),
        (0, 100, east, north),
        (100, 0, west, south),
        (100, 100, east, south),
    ]


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        # Only corners: the image would be mirrored.
        (corners(179.0, -179.0), [179, 181, 179, 181]),
        (corners(-181.0, 179.0), [-181, 179, -181, 179]),
        # The whole Earth is no crossing.
        (corners(-180.0, 180.0), [-180, 180, -180, 180]),
        (corners(-180.0, 179.0), [-180, 179, -180, 179]),
        (corners(0.0, 359.0), [0, 359, 0, 359]),
        # Points in the middle tell.
        ([*corners(-180.0, 180.0), (50, 50, 0.0, 5.0)], [-180, 180, -180, 180, 0]),
        ([*corners(170.0, -170.0), (50, 50, 180.0, 5.0)], [170, 190, 170, 190, 180]),
        ([*corners(170.0, -170.0), (50, 50, -180.0, 5.0)], [170, 190, 170, 190, 180]),
        # A mirrored image, as on an ascending orbit.
        ([*corners(-179.0, 179.0), (50, 50, 180.0, 5.0)], [181, 179, 181, 179, 180]),
        (corners(10.0, 12.0), [10, 12, 10, 12]),
    ],
)
def test_longitudes_of_control_points_continue(places: list[Place], expected: list[float]) -> None:
    assert x_of(places) == pytest.approx(expected)


def test_web_mercator_continues_too() -> None:
    end = 20_037_508.342789244
    assert x_of(corners(end - 1e5, -end + 1e5, 1e5, 0), "EPSG:3857") == pytest.approx(
        [end - 1e5, end + 1e5] * 2
    )
    assert x_of(corners(2e5, 8e5, 1e5, 0), "EPSG:32633") == [2e5, 8e5] * 2


@pytest.mark.parametrize("target", [None, "EPSG:3857", "EPSG:32701", "EPSG:4326"])
def test_points_on_a_curve_over_the_antimeridian_lose_no_pixel(
    chain: Chain, tmp_path: Path, target: str | None
) -> None:
    """A swath whose edges bulge by a tenth of its width, as warped by GDAL's polynomial."""
    path, size = tmp_path / "swath.tif", 200

    def place(row: Any, col: Any) -> tuple[Any, Any]:
        u, v = col / size, row / size
        lon = 178.5 + 3 * u + 0.4 * v + 1.2 * v * (1 - v)
        return (lon + 180) % 360 - 180, -16 - 2 * v + 0.3 * u + 0.8 * u * (1 - u)

    points = [
        GroundControlPoint(row, col, *place(row, col))
        for row in range(0, size + 1, 40)
        for col in range(0, size + 1, 40)
    ]
    with rasterio.open(
        path, "w", driver="GTiff", width=size, height=size, count=1, dtype="float32",
        gcps=points, crs="EPSG:4326",
    ) as dataset:  # fmt: skip
        dataset.write(smooth(1, size, size, "float32", 3000))
    stored = chain.cogs(chain.profile(path), target_crs=target)
    bounds = stored.cogs[0].lonlat_bounds
    assert bounds.crosses_antimeridian
    rows, cols = np.mgrid[0:size, 0:size] + 0.5
    lon, lat = place(rows, cols)
    assert ((lon - bounds.west) % 360 <= (bounds.east - bounds.west) % 360).all()
    assert bounds.south <= lat.min()
    assert lat.max() <= bounds.north
    with rasterio.open(chain.file(stored)) as cog:
        x, y = Transformer.from_crs(4326, cog.crs.to_wkt(), always_xy=True).transform(lon, lat)
        if cog.crs.is_geographic or cog.crs.to_epsg() == 3857:
            period = 360 if cog.crs.is_geographic else 2 * 20_037_508.342789244
            x = (x - cog.bounds.left) % period + cog.bounds.left
        col, row = ~cog.transform @ (x, y)
        valid = cog.dataset_mask()[
            np.clip(row.astype(int), 0, cog.height - 1), np.clip(col.astype(int), 0, cog.width - 1)
        ]
        assert (valid > 0).mean() > 0.98
