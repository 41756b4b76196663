"""The tiles of low zooms that a job draws after a large item is published, on both profiles."""

import gzip
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import dagster as dg
import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely
from pmtiles.reader import MmapSource, all_tiles

from geo_platform.catalog.retention import folder_of
from geo_platform.orchestrator.large_items import PublicationsCursor, plan_tiles_of_published
from geo_platform.ports import SILVER
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import ProfileUnderTest
from tests.support.reading import ReadingApi, reading_api

pytestmark = DAGSTER_S_WARNINGS

ROWS = 12_000
TILES = "/features/collections/vectors:many/tiles/WebMercatorQuad"


def _many() -> gpd.GeoDataFrame:
    """Boxes of 20 to 220 m around Zürich, half of them within two kilometres."""
    random = np.random.default_rng(3)
    far = random.uniform((2_600_000, 1_200_000), (2_750_000, 1_270_000), (ROWS // 2, 2))
    near = random.uniform((2_683_000, 1_247_000), (2_685_000, 1_249_000), (ROWS // 2, 2))
    corners, sides = np.concatenate([far, near]), 20 + np.arange(ROWS) % 200
    boxes = shapely.box(corners[:, 0], corners[:, 1], corners[:, 0] + sides, corners[:, 1] + sides)
    return gpd.GeoDataFrame({"n": range(ROWS)}, geometry=boxes, crs=2056)


@pytest.fixture(scope="module")
def running(
    module_profile: ProfileUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReadingApi]:
    folder = tmp_path_factory.mktemp("kept")
    pyogrio.write_dataframe(_many(), folder / "many.gpkg")
    pyogrio.write_dataframe(_many().head(10), folder / "few.gpkg")
    home = folder / "home"
    done = geo_platform_here(
        "ingest",
        "--json",
        folder / "many.gpkg",
        folder / "few.gpkg",
        home=home,
        extra=module_profile.environment,
    )
    assert [line["outcome"] for line in done.lines] == ["published"] * 2, done.lines
    with reading_api(home, module_profile, features_seconds=60) as api:
        yield api


def test_a_large_item_is_found_once_and_its_tiles_are_those_that_are_drawn(
    running: ReadingApi, module_profile: ProfileUnderTest, tmp_path: Path
) -> None:
    settings = running.settings
    home = {**module_profile.environment, "DAGSTER_HOME": str(settings.dagster_home_dir)}
    with patch.dict(os.environ, home), dg.DagsterInstance.get() as instance:
        catalog = running.services.catalog
        cursor, plan = plan_tiles_of_published(instance, catalog, PublicationsCursor())
        (request,) = plan.requests
        assert request.partition_key == "vectors/many"
        again, nothing = plan_tiles_of_published(instance, catalog, cursor)
        assert (nothing.requests, nothing.events, again) == ([], 0, cursor)

    drawn = {path: running.ask(f"{TILES}/{path}") for path in ("0/0/0", "8/134/89", "11/1072/717")}
    done = geo_platform_here(
        "tiles", "many", "--json", home=settings.home, extra=module_profile.environment
    )
    assert (done.lines[0]["outcome"], done.lines[0]["item"]) == ("drawn", "vectors/many")
    item = running.services.catalog.item("vectors", "many")
    folder = folder_of(item["assets"]["thumbnail"]["geo_platform:key"])
    (stored,) = [
        each.reference
        for each in running.services.objects.list(SILVER, f"{folder}/")
        if each.reference.key.endswith(".pmtiles")
    ]
    path = tmp_path / "kept.pmtiles"
    path.write_bytes(running.services.objects.read_bytes(SILVER, stored.key))
    with path.open("rb") as file:
        kept = {
            "/".join(map(str, address)): gzip.decompress(content)
            for address, content in all_tiles(MmapSource(file))
        }
    assert len(kept) == done.lines[0]["tiles"]
    # Half of the rows are in two kilometres, so a tile of zoom 12 has more than a thousand of them.
    assert max(int(name.split("/")[0]) for name in kept) == 12
    for name, response in drawn.items():
        assert kept[name] == response.content, name

    # A server that may not take time for rows answers what is kept, and nothing else.
    with reading_api(settings.home, module_profile, features_seconds=0.001) as other:
        for name, response in drawn.items():
            answer = other.ask(f"{TILES}/{name}")
            assert (answer.status_code, answer.content) == (200, response.content), name
            assert answer.headers["tile-account"] == response.headers["tile-account"]
            assert answer.headers["etag"] == response.headers["etag"]
        assert other.ask(f"{TILES}/0/0/0", params={"n": 1}).json()["code"] == "TIME_EXCEEDED"

    # GDAL reads the archive: of the deepest zoom, unless it is asked for another.
    code = "import pyogrio, sys; print(*pyogrio.read_dataframe(sys.argv[1], layer=sys.argv[2]).n)"
    read = subprocess.run(
        [sys.executable, "-c", code, path, "vectors:many"],
        capture_output=True,
        text=True,
        check=True,
    )
    numbers = {int(float(number)) for number in read.stdout.split()}
    assert len(numbers) > 1_000
    assert numbers <= set(range(ROWS))
    assert (
        geo_platform_here(
            "tiles", "few", "--json", home=settings.home, extra=module_profile.environment
        ).lines[0]["tiles"]
        == 0
    )
