"""Choose the type in which GDAL reads an ESRI ASCII grid, so that every number keeps its digits.

The format names no type. GDAL takes integers of 32 bits, which wrap around, or floats of 32 bits,
which hold seven digits.

Called by `driver_files.py`.
"""

import re
from collections.abc import Iterator
from typing import IO

import numpy as np

_CHUNK_BYTES = 4 * 1024**2
# Of the long numbers of a chunk, this many at most are compared, spread evenly.
_MOST_COMPARED = 50_000

_HEADER_LINE = re.compile(
    rb"\s*(?:ncols|nrows|[xy]ll(?:corner|center)|cellsize|dx|dy|nodata_value)\b[^\n\r]*[\n\r]+",
    re.IGNORECASE,
)
_MAX_HEADER_LINES = 10
# What makes GDAL read a grid as floats.
_FRACTION = re.compile(rb"[.,eE]")
_LONG_INTEGER = re.compile(rb"(?<![\d.,eE])[-+]?\d{10,}(?![\d.,eE])")
_LONG_NUMBER = re.compile(rb"[-+]?\d[\d.,]{7,}(?:[eE][-+]?\d+)?")
# With an exponent that may be beyond those of a float of 32 bits.
_FAR_NUMBER = re.compile(rb"[-+]?\d[\d.,]*[eE][-+]?0*(?:3[789]|[4-9]\d|\d{3,})(?!\d)")
_FLOAT32 = np.finfo(np.float32)
_NAN = re.compile(rb"nan", re.IGNORECASE)
_INT32 = range(-(2**31), 2**31)


def grid_driver_options(grid: IO[bytes]) -> dict[str, str]:
    """Return GDAL's option for floats of 64 bits if its own choice would change a number.

    Whole numbers need them beyond 32 bits and beside NaN; fractions, if a float of 32 bits, printed
    with as many decimals, is another number, or if it cannot hold the exponent.
    """
    has_fraction = is_wide = is_lossy = False
    for chunk in _chunks(grid):
        has_fraction = has_fraction or _FRACTION.search(chunk) is not None
        is_wide = is_wide or (
            _NAN.search(chunk) is not None
            or any(int(number) not in _INT32 for number in _LONG_INTEGER.findall(chunk))
        )
        is_lossy = (
            is_lossy
            or _loses_digits(_LONG_NUMBER.findall(chunk))
            or any(map(_is_out_of_range, _FAR_NUMBER.findall(chunk)))
        )
        if is_lossy and (is_wide or has_fraction):
            break
    needs_64_bits = is_lossy if has_fraction else is_wide
    return {"DATATYPE": "Float64"} if needs_64_bits else {}


def _chunks(grid: IO[bytes]) -> Iterator[bytes]:
    """Yield the text after the header in chunks of whole numbers."""
    rest = grid.read(_CHUNK_BYTES)
    for _ in range(_MAX_HEADER_LINES):
        line = _HEADER_LINE.match(rest)
        rest = rest[line.end() :] if line else rest
    while rest:
        following = grid.read(_CHUNK_BYTES)
        end = max(rest.rfind(b" "), rest.rfind(b"\n"), rest.rfind(b"\t")) + 1
        if not following or not end:
            end = len(rest)
        yield rest[:end]
        rest = rest[end:] + following


def _loses_digits(numbers: list[bytes]) -> bool:
    some = numbers[:: len(numbers) // _MOST_COMPARED + 1]
    texts = [number.replace(b",", b".") for number in some if number.count(b".") < 2]
    if not texts:
        return False
    try:
        values = np.array(texts).astype(np.float64)
    except ValueError:
        return False  # no number; GDAL refuses it or reads its beginning
    mantissas = [re.split(rb"[eE]", text) for text in texts]
    exponents = np.array([int(part[1]) if len(part) > 1 else 0 for part in mantissas])
    decimals = np.array([len(part[0].partition(b".")[2]) for part in mantissas])
    with np.errstate(over="ignore", invalid="ignore"):
        change = np.abs(values - values.astype(np.float32).astype(np.float64))
    return bool((change >= 0.5 * 10.0 ** (exponents - decimals)).any())


def _is_out_of_range(number: bytes) -> bool:
    if number.count(b".") + number.count(b",") > 1:
        return False
    size = abs(float(number.replace(b",", b".")))
    # As in GDAL, a little beyond the largest float of 32 bits is a rounded one.
    return size > float(_FLOAT32.max) * (1 + 1e-6) or 0 < size < float(_FLOAT32.tiny)
