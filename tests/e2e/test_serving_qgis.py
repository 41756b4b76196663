"""The QGIS of the system opens and draws what is served: COG, features, both kinds of tiles."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from numpy.typing import NDArray

from geo_platform.settings import Profile
from tests.support.command import ROOT
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import ProfileUnderTest
from tests.support.reading import reading_api
from tests.support.skipping import cannot_run

pytestmark = [
    *DAGSTER_S_WARNINGS,
    pytest.mark.slow,
    pytest.mark.parametrize(
        "module_profile", [Profile.embedded, Profile.production], ids=str, indirect=True
    ),
    # The pictures are maps without a georeference.
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]

PYTHON = "/usr/bin/python3"  # Debian's, for which python3-qgis is built
COUNTRIES = ROOT / "samples" / "natural_earth_countries.shp.zip"
ELEVATION = ROOT / "samples" / "sierra_nevada_srtm.tif"


@pytest.fixture(scope="module")
def drawn(
    tmp_path_factory: pytest.TempPathFactory, module_profile: ProfileUnderTest
) -> Iterator[tuple[dict[str, Any], Path]]:
    """What QGIS said, and the folder of its pictures."""
    if subprocess.run([PYTHON, "-c", "import qgis.core"], capture_output=True).returncode != 0:
        cannot_run("QGIS is not installed; on Debian: apt-get install python3-qgis qgis-providers")
    home, folder = tmp_path_factory.mktemp("qgis"), tmp_path_factory.mktemp("pictures")
    folder.chmod(0o700)
    ingested = geo_platform_here(
        "ingest", COUNTRIES, ELEVATION, home=home, extra=module_profile.environment
    )
    assert ingested.exit_code == 0, ingested.stderr
    with reading_api(home, module_profile) as api:
        done = subprocess.run(
            [PYTHON, ROOT / "tests/support/qgis_reads.py", api.address, api.key, folder],
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        yield json.loads(done.stdout.splitlines()[-1]), folder


def picture(folder: Path, name: str) -> NDArray[np.uint8]:
    """Return the picture of a layer, (400, 600, 3)."""
    with rasterio.open(folder / f"{name}.png") as opened:
        return np.moveaxis(opened.read([1, 2, 3]), 0, -1)


def is_covered(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.any(pixels != 255, axis=-1)


def test_every_layer_opens_and_is_drawn_without_an_error(
    drawn: tuple[dict[str, Any], Path],
) -> None:
    said, folder = drawn
    names = ["file", "rows", "pictures", "vector_tiles"]
    assert said["valid"] == dict.fromkeys(names, True)
    assert said["errors"] == {name: [] for name in names}
    for name in names:
        assert 0.2 < is_covered(picture(folder, name)).mean() < 0.8, name


def test_the_private_cog_has_its_own_size_and_crs(drawn: tuple[dict[str, Any], Path]) -> None:
    said, _ = drawn
    assert (said["size"], said["crs"]) == ([900, 700], "EPSG:4326")


def test_the_features_are_the_rows_of_the_source(drawn: tuple[dict[str, Any], Path]) -> None:
    source = gpd.read_file(COUNTRIES)
    said, _ = drawn
    rows = said["rows"]
    assert len(source) == 177
    assert {name: people for name, (people, _) in rows.items()} == dict(
        zip(source["name"], source["pop_est"], strict=True)
    )
    assert {name: area for name, (_, area) in rows.items()} == pytest.approx(
        dict(zip(source["name"], shapely.area(source.geometry.values), strict=True)), abs=1e-4
    )


def test_tiles_show_what_the_data_show(drawn: tuple[dict[str, Any], Path]) -> None:
    _, folder = drawn
    for tiles, data in (("pictures", "file"), ("vector_tiles", "rows")):
        differing = is_covered(picture(folder, tiles)) != is_covered(picture(folder, data))
        assert differing.mean() < 0.02, tiles


def test_elevation_is_drawn_in_colours(drawn: tuple[dict[str, Any], Path]) -> None:
    _, folder = drawn
    pixels = picture(folder, "pictures").astype(int)
    assert np.ptp(pixels, axis=-1)[is_covered(picture(folder, "pictures"))].mean() > 30
    grey = picture(folder, "file").astype(int)
    assert np.ptp(grey, axis=-1).max() == 0


def test_the_account_of_a_vector_tile_is_not_drawn(drawn: tuple[dict[str, Any], Path]) -> None:
    _, folder = drawn
    sea = picture(folder, "vector_tiles")[255:265, 295:305]  # 0 degrees, 0 degrees
    assert (sea == 255).all()
