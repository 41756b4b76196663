"""Decide which value marks a missing pixel, and whether the bands can hold it.

The rules are in docs/raster.md, "Bands". No pixel is read here.

Used by `raster`.
"""

import math
from dataclasses import dataclass

import numpy as np

from geo_platform.contracts.message import Finding
from geo_platform.errors import NodataConflict


@dataclass(frozen=True)
class NodataDecision:
    """The nodata value of each band, in band order; None for a band without nodata."""

    values: tuple[float | None, ...]
    warnings: tuple[Finding, ...] = ()


def decide_nodata(
    file_values: tuple[float | None, ...],
    dtypes: tuple[str, ...],
    requested: float | None,
    display_name: str,
) -> NodataDecision:
    """Return the nodata value of each band.

    A TIFF holds one nodata value for all bands. If the bands have different values, the request
    must give one value, and conversion replaces the values of the bands with it.
    Raises NodataConflict: if the bands have different values and the request gives none, if all
    bands have one value and the request gives another, or if a band cannot hold the value.
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
    band_values = tuple(
        value if value is not None and representable(value, dtype) else None
        for value, dtype in zip(file_values, dtypes, strict=True)
    )
    distinct = _distinct(band_values)
    if requested is not None:
        _check_requested(requested, distinct, dtypes, display_name)
        return NodataDecision(tuple(requested for _ in dtypes), tuple(warnings))
    if len(distinct) > 1:
        raise NodataConflict(
            f"The bands of {display_name!r} have different nodata values: "
            f"{', '.join(f'{value:g}' for value in distinct)}.",
            remedy="Set `nodata` to one value that every band can hold; bands are rewritten to it.",
        )
    return _extend_to_all_bands(band_values, distinct, dtypes, warnings, display_name)


def representable(value: float, dtype: str) -> bool:
    """Return whether a pixel of this dtype can equal the value.

    For float32, the value is compared after rounding, as in GDAL.
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


def same_value(first: float | None, second: float | None) -> bool:
    """Return whether both are equal within float32 rounding; NaN equals NaN, None equals None."""
    if first is None or second is None:
        return first is second
    return (
        first == second
        or (math.isnan(first) and math.isnan(second))
        or math.isclose(first, second, rel_tol=1e-7)
    )


def _distinct(values: tuple[float | None, ...]) -> list[float]:
    distinct: list[float] = []
    for value in values:
        if value is not None and not any(same_value(value, other) for other in distinct):
            distinct.append(value)
    return distinct


def _check_requested(
    requested: float, distinct: list[float], dtypes: tuple[str, ...], display_name: str
) -> None:
    for index, dtype in enumerate(dtypes, start=1):
        if not representable(requested, dtype):
            raise NodataConflict(
                f"Band {index} of {display_name!r} is {dtype} and cannot hold the nodata value "
                f"{requested:g}."
            )
    if len(distinct) == 1 and not same_value(distinct[0], requested):
        raise NodataConflict(
            f"{display_name!r} has the nodata value {distinct[0]:g}, but the request gives "
            f"{requested:g}.",
            remedy="Omit `nodata` to use the value of the file.",
        )


def _extend_to_all_bands(
    band_values: tuple[float | None, ...],
    distinct: list[float],
    dtypes: tuple[str, ...],
    warnings: list[Finding],
    display_name: str,
) -> NodataDecision:
    """Give all bands the nodata value that some have: a TIFF cannot hold it for some bands only."""
    if not distinct:
        return NodataDecision(band_values, tuple(warnings))
    value = distinct[0]
    missing = [index for index, band in enumerate(band_values, start=1) if band is None]
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
    return NodataDecision(tuple(value for _ in band_values), tuple(warnings))
