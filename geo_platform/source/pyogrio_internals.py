"""Calls into pyogrio that its API reference does not list: one function each.

Each docstring gives the reason for the call and what would replace it. No other module imports
`pyogrio._*` or `pyogrio.raw`; tests/unit/source/test_pyogrio_internals.py checks that and pins
the behaviour of each call. Other modules call the public functions of pyogrio directly.

Called by `vector/read.py`, `vector/sources/ogr.py` and `vector_drivers.py`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from pyogrio import _err, _geometry, _ogr, raw

# wkbUnknown with the bit of Z (as an unsigned and as a signed number), M, and both.
_UNKNOWN_WITH_Z_OR_M = (2**31, -(2**31), 2000, 3000)


def register_drivers() -> None:
    """Register GDAL's drivers again, so that pyogrio's GDAL applies a changed `GDAL_SKIP`.

    The call is needed because pyogrio cannot limit the drivers of a single call
    (docs/decisions/0006).
    Replaced by: a parameter of `read_info` and `open_arrow` that lists the allowed drivers.
    """
    _ogr._register_drivers()


@contextmanager
def captured_gdal_errors() -> Iterator[list[str]]:
    """Collect the texts of GDAL's non-fatal errors, in any thread.

    Yields a list that is filled when the block ends without an exception. Needed because pyogrio
    installs its error handler only in the thread that imports it (docs/decisions/0027).
    Replaced by: a public error handler that works in every thread.
    """
    errors: list[str] = []
    with _err.capture_errors():
        yield errors
        errors += [str(error) for error in _err._ERROR_STACK.get()]


def accept_unknown_types_with_z() -> None:
    """Let pyogrio describe layers whose declared type is "unknown with Z or M".

    Needed because pyogrio knows "unknown" without Z only, and raises GeometryError for 3D GML with
    a property called geometry, or a GeoPackage of the type GEOMETRY with Z (OGC 12-128, table 5).
    Replaced by: these types in pyogrio's list of types.
    """
    for code in _UNKNOWN_WITH_Z_OR_M:
        _geometry.GEOMETRY_TYPES[code] = "Unknown"


def read_linearised_wkb(
    path: str, layer: str, *, skip: int, rows: int, open_options: Mapping[str, str]
) -> npt.NDArray[np.object_]:
    """Return `rows` geometries from row `skip` on as WKB, with curves replaced by line segments.

    OGR replaces an arc by segments of 4 degrees. Needed because `open_arrow` returns curves
    unchanged, and `read_dataframe` parses each geometry with Shapely, which fails on a TIN.
    Replaced by: an option of `open_arrow` that linearises.
    """
    wkb: npt.NDArray[np.object_] = raw.read(
        path, layer=layer, columns=[], skip_features=skip, max_features=rows, **open_options
    )[2]
    return wkb
