"""A folder store and tiny real files to ingest."""

import os
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import pyogrio
import pytest
import shapely

from geo_platform.storage.local.folder import FolderStore
from tests.unit.vector.harness import Platform, Write


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Platform(FolderStore(tmp_path / "store"), scratch)


@pytest.fixture
def parcels() -> geopandas.GeoDataFrame:
    """Five squares in Belgium; row 3 has null values."""
    squares = [shapely.box(4 + i / 10, 50, 4.05 + i / 10, 50.05) for i in range(5)]
    columns = {
        "Id": [1, 2, 3, 4, 5],
        "Näam": ["a", "é", "ü", None, "x"],
        "area": [1.5, 2.0, None, 4.0, 5.0],
    }
    frame = geopandas.GeoDataFrame(columns, geometry=squares, crs="EPSG:4326")
    return frame.astype({"Id": "int32"})


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function write(frame, name, **pyogrio_options) that writes a file in tmp_path."""

    def write_file(frame: geopandas.GeoDataFrame, name: str, **options: Any) -> Path:
        path = tmp_path / name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pyogrio.write_dataframe(frame, path, **options)
        return path

    return write_file


def zip_up(archive: Path, *paths: Path) -> Path:
    """Put files and folders into a zip archive."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for path in paths:
            members = sorted(path.rglob("*")) if path.is_dir() else [path]
            for member in members:
                opened.write(member, os.path.relpath(member, path.parent))
    return archive


@pytest.fixture
def zipped() -> Callable[..., Path]:
    return zip_up


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path, str], Path]:
    def copy(path: Path, name: str) -> Path:
        return Path(shutil.copy(path, tmp_path / name))

    return copy
