"""Pin each undocumented behaviour of rasterio and GDAL that rasterio_internals.py relies on.

The end of text files is pinned by test_ranged.py. If a test fails with a new version, read what the
function names as its replacement.
"""

import ast
import io
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio._env import get_gdal_config
from rasterio.abc import FileContainer
from rasterio.errors import RasterioError

from geo_platform.raster.open import BLOCK_CACHE_BYTES, gdal_environment
from geo_platform.raster.rasterio_internals import (
    cog_leftovers,
    copy_domains_option,
    exact_nodata_values,
    gdal_error_types,
    reports_damaged_blocks,
    reports_failed_write,
    virtual_copy,
)
from tests.support.cases import CASES
from tests.unit.raster.conftest import WriteRaster, smooth

ROOT = Path(__file__).resolve().parents[3]


def test_no_other_module_imports_private_modules_of_rasterio() -> None:
    importers = set()
    for package in ("geo_platform", "assets", "resources", "schedules"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and node.module:
                    names = [f"{node.module}.{alias.name}" for alias in node.names]
                if any(name.startswith("rasterio._") for name in names):
                    importers.add(path.relative_to(ROOT).as_posix())
    assert importers == {"geo_platform/raster/rasterio_internals.py"}


def noise(size: int) -> Any:
    return np.random.default_rng(0).integers(1, 255, (1, size, size), dtype=np.uint8)


def test_copying_damaged_blocks_raises_an_error_that_rasterio_does_not_wrap(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    path = write_raster("a.tif", noise(600), compress="deflate", tiled=True)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with rasterio.open(path) as source, pytest.raises(gdal_error_types()) as raised:
        rasterio.shutil.copy(source, str(tmp_path / "cog.tif"), driver="COG")
    assert not isinstance(raised.value, RasterioError)
    assert reports_damaged_blocks(str(raised.value))
    assert not reports_failed_write(str(raised.value))


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """Let writing past 100 kB of a file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_reported_as_a_failed_write(
    write_raster: WriteRaster, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    source = write_raster("a.tif", noise(2000))
    request.getfixturevalue("small_files_only")
    with rasterio.open(source) as dataset, pytest.raises(gdal_error_types()) as raised:
        rasterio.shutil.copy(dataset, str(tmp_path / "cog.tif"), driver="COG")
    assert reports_failed_write(f"{raised.value} {raised.value.__cause__}")


def test_rasterio_takes_the_block_cache_in_bytes() -> None:
    """With 512 bytes, every block is read again: a mask of 1,024 px took 5 s instead of 6 ms."""
    with gdal_environment():
        assert int(get_gdal_config("GDAL_CACHEMAX")) == BLOCK_CACHE_BYTES >= 256 * 1024**2


def test_the_cog_driver_keeps_other_domains_or_tags_of_bands(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    def change(target: Any) -> None:
        target.update_tags(ns="SURVEY", made_by="hand")
        target.update_tags(1, wavelength="11")

    source = write_raster("a.tif", smooth(1, 40, 50), change=change)
    found = {}
    for name, options in (("default", {}), ("copied", copy_domains_option())):
        rasterio.shutil.copy(str(source), str(tmp_path / name), driver="COG", **options)
        with rasterio.open(tmp_path / name) as cog:
            found[name] = (cog.tags(ns="SURVEY"), cog.tags(1))
    assert found == {
        "default": ({}, {"wavelength": "11"}),
        "copied": ({"made_by": "hand"}, {}),
    }


class _SpyingFolder(FileContainer):  # type: ignore[misc]  # rasterio has no types
    """A folder that holds one file, and calls `on_read` whenever GDAL reads from it."""

    def __init__(self, path: Path, on_read: Any) -> None:
        self._path, self._on_read = path, on_read

    def open(self, path: str, mode: str = "r", **_: Any) -> Any:
        if Path(path).name != self._path.name:
            raise FileNotFoundError(path)
        on_read = self._on_read

        class Spy(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                on_read()
                return super().read(size)

        return Spy(self._path.read_bytes())

    def isfile(self, path: str) -> bool:
        return Path(path).name == self._path.name

    def isdir(self, path: str) -> bool:
        return False

    def ls(self, path: str) -> list[str]:
        return [self._path.name]

    def mtime(self, path: str) -> int:
        return 0

    def size(self, path: str) -> int:
        return self._path.stat().st_size

    def rm(self, path: str) -> None:
        raise PermissionError(path)


def test_the_names_and_the_codec_of_the_cog_drivers_temporary_overviews(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    source = write_raster("a.tif", np.ones((1, 3000, 3000), dtype="uint8"), tiled=True)
    folder = tmp_path / "cogs"
    folder.mkdir()
    sizes: dict[str, int] = {}

    def record() -> None:
        for path in folder.iterdir():
            sizes[path.name] = max(sizes.get(path.name, 0), path.stat().st_size)

    with (
        gdal_environment(),
        rasterio.Env(GDAL_CACHEMAX=1024 * 1024),
        rasterio.open(str(source), opener=_SpyingFolder(source, record)) as dataset,
    ):
        rasterio.shutil.copy(dataset, str(folder / "cog.tif"), driver="COG")
    assert set(sizes) <= {path.name for path in cog_leftovers(folder / "cog.tif")}
    assert sizes["cog.tif.ovr.tmp"] > 1500 * 1500


def test_rasterio_loses_the_largest_nodata_value_of_64_bits() -> None:
    with rasterio.open(CASES / "u64.tif") as dataset:
        assert dataset.nodatavals == (None,)
        assert exact_nodata_values(dataset) == (2**64 - 1,)


def test_a_virtual_copy_describes_the_bands_and_refers_to_the_file(
    write_raster: WriteRaster,
) -> None:
    path = write_raster("a.tif", smooth(2, 20, 30, "float32"), mask=np.ones((20, 30), dtype=bool))
    with rasterio.open(path) as dataset:
        bands = virtual_copy(dataset).findall("VRTRasterBand")
        assert exact_nodata_values(dataset) == (None, None)
    sources = [band.findtext("SimpleSource/SourceFilename") for band in bands]
    assert sources == [str(path), str(path)]
