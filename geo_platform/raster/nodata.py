"""Decide which value marks a missing pixel, and whether the bands can hold it.

The rules are in docs/raster.md, "Bands". No pixel is read.
"""

import math
from dataclasses import dataclass

import numpy as np

from geo_platform.contracts.message import Finding
from geo_platform.errors import NodataConflict


@dataclass(frozen=True)
class NodataDecision:
    """One value per band, in band order, None for a band without nodata."""

    values: tuple[float | None, ...]
    warnings: tuple[Finding, ...] = ()


def decide_nodata(
    file_values: tuple[float | None, ...],
    dtypes: tuple[str, ...],
    given: float | None,
    display_name: str,
) -> NodataDecision:
    """Return the nodata value of each band.

    A TIFF holds one value for all bands. If bands differ, the user must give a value, and
    conversion rewrites the bands to it.
    Raises NodataConflict: if bands differ and none is given, if the file has another value than
    the given one, or if a band cannot hold the value.
    """
    warnings = [
        Finding(
            code="NODATA_UNREPRESENTABLE",
            message=(
                f"Band {index} is {dtype} and cannot hold its nodata value {value:g}, which is "
                "therefore dropped."
            ),
        )
        for index, (value, dtype) in enumerate(zip(file_values, dtypes, strict=True), start=1)
        if value is not None and not representable(value, dtype)
    ]
    own = tuple(
        value if value is not None and representable(value, dtype) else None
        for value, dtype in zip(file_values, dtypes, strict=True)
    )
    distinct = _distinct(own)
    if given is not None:
        _check_given(given, distinct, dtypes, display_name)
        return NodataDecision(tuple(given for _ in dtypes), tuple(warnings))
    if len(distinct) > 1:
        raise NodataConflict(
            f"The bands of {display_name!r} have different nodata values: "
            f"{', '.join(f'{value:g}' for value in distinct)}.",
            remedy="Set nodata to one value that every band can hold; bands are rewritten to it.",
        )
    return _extended(own, distinct, dtypes, warnings, display_name)


def representable(value: float, dtype: str) -> bool:
    """Return whether a pixel of this dtype can equal the value.

    float32 values are compared after rounding, as GDAL does.
    """
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (
            math.isnan(value)
            or math.isinf(value)
            or abs(value) <= float(np.finfo(kind).max) * (1 + 1e-6)
        )
    limits = np.iinfo(kind)
    return math.isfinite(value) and value == int(value) and limits.min <= int(value) <= limits.max


def same_value(one: float | None, other: float | None) -> bool:
    """Return whether both are equal up to float32 rounding. NaN equals NaN, None equals None."""
    if one is None or other is None:
        return one is other
    return (
        one == other
        or (math.isnan(one) and math.isnan(other))
        or math.isclose(one, other, rel_tol=1e-7)
    )


def _distinct(values: tuple[float | None, ...]) -> list[float]:
    found: list[float] = []
    for value in values:
        if value is not None and not any(same_value(value, seen) for seen in found):
            found.append(value)
    return found


def _check_given(
    given: float, distinct: list[float], dtypes: tuple[str, ...], display_name: str
) -> None:
    for index, dtype in enumerate(dtypes, start=1):
        if not representable(given, dtype):
            raise NodataConflict(
                f"Band {index} of {display_name!r} is {dtype} and cannot hold the nodata value "
                f"{given:g}."
            )
    if len(distinct) == 1 and not same_value(distinct[0], given):
        raise NodataConflict(
            f"{display_name!r} has the nodata value {distinct[0]:g}, but the request gives "
            f"{given:g}.",
            remedy="Omit nodata to use the value of the file.",
        )


def _extended(
    own: tuple[float | None, ...],
    distinct: list[float],
    dtypes: tuple[str, ...],
    warnings: list[Finding],
    display_name: str,
) -> NodataDecision:
    """Extend the one value that some bands have to all: a TIFF cannot hold it for some only."""
    if not distinct:
        return NodataDecision(own, tuple(warnings))
    value = distinct[0]
    missing = [index for index, band in enumerate(own, start=1) if band is None]
    if missing:
        unable = [index for index in missing if not representable(value, dtypes[index - 1])]
        if unable:
            raise NodataConflict(
                f"Bands {unable} of {display_name!r} cannot hold the nodata value {value:g} of the "
                "other bands."
            )
        warnings.append(
            Finding(
                code="NODATA_EXTENDED",
                message=(
                    f"Bands {missing} have no nodata value; the value {value:g} of the others is "
                    "used for them too."
                ),
            )
        )
    return NodataDecision(tuple(value for _ in own), tuple(warnings))
