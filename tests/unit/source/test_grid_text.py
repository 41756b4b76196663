"""Each number of an ASCII grid keeps its digits in the type in which GDAL reads it."""

from io import BytesIO
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.source import grid_text
from geo_platform.source.grid_text import grid_driver_options

HEADER = "ncols {}\nnrows 1\nxllcorner 3500000.123\nyllcorner 5500000.123\ncellsize 10\n"
FLOAT64 = {"DATATYPE": "Float64"}


def options(text: str, header: str = HEADER) -> dict[str, str]:
    return grid_driver_options(BytesIO((header.format(len(text.split())) + text).encode()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 2 -9999", {}),
        ("2147483647 -2147483648 1", {}),
        ("2147483648 1", FLOAT64),
        ("+3000000000 1", FLOAT64),
        ("1 nan", FLOAT64),
        ("1.5 -9999.000000", {}),
        ("123.456 0.00012345", {}),
        ("1234.567871 1.5", {}),  # a float of 32 bits, printed with six decimals
        ("16777217.0 1", FLOAT64),
        ("3000000000.25", FLOAT64),
        ("12345678,25 1", FLOAT64),
        ("1.23456789e-3", FLOAT64),
        ("1.000000e+10 2", {}),
        ("nan 1.5", {}),
        ("1e300 2", FLOAT64),
        ("2 -1E+39", FLOAT64),
        ("1e-300 2", FLOAT64),
        ("-3.4e38 1e-37 1e05 0e99", {}),
    ],
)
def test_the_type_holds_the_numbers(text: str, expected: dict[str, str]) -> None:
    assert options(text) == expected


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_header_does_not_count(newline: str) -> None:
    header = HEADER.replace("cellsize", "NODATA_value -3.4028234663852886e+38\ncellsize")
    assert options("1 2\n3 4".replace("\n", newline), header.replace("\n", newline)) == {}


def test_a_number_at_the_end_of_a_chunk_is_whole() -> None:
    for size in range(1, 40):
        with patch.object(grid_text, "_CHUNK_BYTES", 150 + size):
            assert options("1 " * 20 + "2147483647 " + "2 " * 99) == {}
            assert options("1 " * 20 + "2147483648 " + "2 " * 99) == FLOAT64


@given(
    st.one_of(
        st.lists(st.integers(-(2**52), 2**52), min_size=1, max_size=9),
        st.lists(st.decimals(-(10**9), 10**9, places=4, allow_nan=False), min_size=1, max_size=9),
    )
)
def test_gdal_reads_what_was_written(numbers: list[object]) -> None:
    import tempfile

    text = " ".join(str(number) for number in numbers)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.asc"
        path.write_text(HEADER.format(len(numbers)) + text + "\n")
        with rasterio.open(path, driver="AAIGrid", **options(text)) as grid:
            read = grid.read(1)[0].astype(np.float64)
    places = 4 if "." in text else 0
    assert [f"{value:.{places}f}" for value in read] == [
        f"{float(str(number)):.{places}f}" for number in numbers
    ]
