"""Nodata: which value marks a missing pixel, and whether the bands can hold it.

What belongs here: the rules of docs/raster.md, "Nodata". What stays out: reading pixels.
"""

import math
from dataclasses import dataclass

import numpy as np

from geo_platform.contracts.message import Finding
from geo_platform.errors import NodataConflict


@dataclass(frozen=True)
class NodataDecision:
    """One value per band, in band order; None where a band has none."""

    values: tuple[float | None, ...]
    warnings: tuple[Finding, ...] = ()


def decide_nodata(
    file_values: tuple[float | None, ...],
    dtypes: tuple[str, ...],
    given: float | None,
    display_name: str,
) -> NodataDecision:
    """The nodata value of each band. Pure.

    A TIFF holds one value for all bands, so bands that differ need the user's decision; they are then rewritten to it.
    Raises NodataConflict.
    """
    warnings = [
        Finding(
            code="NODATA_UNREPRESENTABLE",
            message=f"Band {index} is {dtype}, which cannot hold its nodata {value:g}: left out.",
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
            f"The bands of {display_name!r} have different nodata values: {', '.join(f'{value:g}' for value in distinct)}.",
            remedy="Give one nodata value that every band can hold with nodata; the others are rewritten to it.",
        )
    return _shared(own, distinct, dtypes, warnings, display_name)


def representable(value: float, dtype: str) -> bool:
    """Whether a pixel of this dtype can equal the value. float32 nodata is compared after rounding, as GDAL does."""
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
    """Equal, NaN being equal to NaN."""
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
                f"Band {index} of {display_name!r} is {dtype} and cannot hold the nodata value {given:g}."
            )
    if len(distinct) == 1 and not same_value(distinct[0], given):
        raise NodataConflict(
            f"{display_name!r} says nodata {distinct[0]:g}, the request says {given:g}.",
            remedy="Leave nodata out to use the file's own.",
        )


def _shared(
    own: tuple[float | None, ...],
    distinct: list[float],
    dtypes: tuple[str, ...],
    warnings: list[Finding],
    display_name: str,
) -> NodataDecision:
    """The one value that bands have, for all of them: a TIFF cannot say it of some bands only."""
    if not distinct:
        return NodataDecision(own, tuple(warnings))
    value = distinct[0]
    missing = [index for index, band in enumerate(own, start=1) if band is None]
    if missing:
        unable = [index for index in missing if not representable(value, dtypes[index - 1])]
        if unable:
            raise NodataConflict(
                f"Bands {unable} of {display_name!r} cannot hold the nodata value {value:g} that the other bands have."
            )
        warnings.append(
            Finding(
                code="NODATA_EXTENDED",
                message=f"Nodata {value:g} holds for bands {missing} too, which had none.",
            )
        )
    return NodataDecision(tuple(value for _ in own), tuple(warnings))
