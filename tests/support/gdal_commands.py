"""GDAL's own commands, of the system, as a client of the HTTP API."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from tests.support.skipping import cannot_run

_PATH = "/usr/bin:/bin"


def assert_gdal_reads(url: str, header: str, source: Path, folder: Path) -> None:
    """Open the URL of a COG with this HTTP header, and compare a window with the file `source`."""
    name = f"/vsicurl/{url}"
    info = gdal("gdalinfo", name, header=header)
    assert info.returncode == 0, info.stderr
    with rasterio.open(source) as written:
        assert f"Size is {written.width}, {written.height}" in info.stdout
    assert "LAYOUT=COG" in info.stdout
    window = ("-srcwin", "300", "200", "64", "32")
    copied = gdal(
        "gdal_translate", "-q", "-of", "GTiff", *window, name, folder / "window.tif", header=header
    )
    assert copied.returncode == 0, copied.stderr
    with rasterio.open(folder / "window.tif") as read, rasterio.open(source) as written:
        expected = written.read(1)[200:232, 300:364]
        assert np.array_equal(read.read(1), expected)


def gdal(*command: Any, header: str) -> subprocess.CompletedProcess[str]:
    """Run a command of GDAL that sends this HTTP header."""
    if shutil.which(command[0], path=_PATH) is None:
        cannot_run(f"{command[0]} is not installed")
    environment = {
        "PATH": _PATH,
        "GDAL_HTTP_HEADERS": header,
        "NO_PROXY": "127.0.0.1",
        "GDAL_PAM_ENABLED": "NO",
    }
    return subprocess.run(
        [*map(str, command)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
