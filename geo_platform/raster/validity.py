"""Decide which pixels of a raster are valid: by nodata, NaN, masks, alpha, transparent colours.

Everything that must know whether a pixel is valid asks `Validity`: the sample, the figures, the
mask of the COG, its verification, the pictures and the footprint. The rules are in docs/raster.md,
"Validity". `decide_nodata` chooses the nodata value that a COG holds.

Used by `raster` and `serving/raster`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.io import DatasetReader

from geo_platform.contracts.message import Finding
from geo_platform.errors import NodataConflict
from geo_platform.raster.metadata import color_table
from geo_platform.raster.rasterio_internals import exact_nodata_values

Values = NDArray[Any]
Mask = NDArray[np.bool_]
# An integer if the band has 64-bit integers, of which a float cannot hold every one.
NodataValue = int | float

# GDAL takes the last of two or four bands for the mask of the others if it is alpha of these types.
_PLAIN_ALPHA = ((2, 2), (4, 4))
_PLAIN_ALPHA_DTYPES = ("uint8", "uint16")


@dataclass(frozen=True)
class Validity:
    """The rule by which the pixels of one dataset are valid, as `validity_of` reads it.

    Bands are counted from 1. `nodata`: the values that mark a missing pixel, for each band.
    `nodata_is_color`: a pixel is missing only if all bands have their nodata value.
    `masked`: bands whose mask is stored; it takes the place of their nodata value.
    `alpha`: the band that is alpha, which has no mask itself. `transparent`: by band, the entries
    of the colour table that are fully transparent.
    """

    nodata: tuple[tuple[NodataValue, ...], ...]
    nodata_is_color: bool = False
    masked: frozenset[int] = frozenset()
    alpha: int | None = None
    transparent: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def data_bands(self) -> tuple[int, ...]:
        """The bands other than alpha."""
        return tuple(band for band in range(1, len(self.nodata) + 1) if band != self.alpha)

    def is_as_gdal_masks(self, dataset: DatasetReader) -> bool:
        """Return whether GDAL's own masks of the dataset give the same valid pixels.

        NaN is left out of account where no mask is stored.
        """
        if self.nodata_is_color or self.transparent:
            return False
        if self.masked and any(np.dtype(dtype).kind == "f" for dtype in dataset.dtypes):
            return False
        return self.alpha is None or (
            not self.masked
            and (dataset.count, self.alpha) in _PLAIN_ALPHA
            and set(dataset.dtypes) <= set(_PLAIN_ALPHA_DTYPES)
            and not any(self.nodata)
        )

    def of_bands(self, dataset: DatasetReader, pixels: Values, **reading: Any) -> Mask:
        """Return (bands, rows, cols), True where the pixel of the band is valid.

        `pixels` has all bands of the dataset, unchanged, as read with `reading` (a window, for
        example). Alpha itself is valid everywhere.
        """
        valid = np.ones(pixels.shape, dtype=np.bool_)
        for band in self.data_bands:
            valid[band - 1] = self._of_band(dataset, band, pixels[band - 1], reading)
        data = [band - 1 for band in self.data_bands]
        if self.nodata_is_color:
            is_any_valid = valid[data].any(axis=0)
            for index in data:
                valid[index] = is_any_valid & ~_is_nan(pixels[index])
        if self.alpha is not None:
            valid[data] &= pixels[self.alpha - 1] > 0
        return valid

    def of_pixels(
        self, dataset: DatasetReader, *, bands: Sequence[int] | None = None, **reading: Any
    ) -> Mask:
        """Return (rows, cols), True where at least one of the bands is valid.

        `bands`: the bands to look at, None for all but alpha. Where nodata is a colour, all of them
        say whether it is one, but one of `bands` has to be a number. Reads one band after the
        other, with `reading` (a window or an `out_shape`).
        """
        first, *others = self.data_bands if bands is None or self.nodata_is_color else bands
        valid = self._of_band(dataset, first, dataset.read(first, **reading), reading)
        for band in others:
            if valid.all():
                break
            valid |= self._of_band(dataset, band, dataset.read(band, **reading), reading)
        if self.nodata_is_color and bands is not None:
            numbers = np.zeros_like(valid)
            for band in bands:
                numbers |= ~_is_nan(dataset.read(band, **reading))
            valid = valid & numbers
        if self.alpha is not None:
            valid = valid & (dataset.read(self.alpha, **reading) > 0)
        return valid

    def _of_band(
        self, dataset: DatasetReader, band: int, pixels: Values, reading: Mapping[str, Any]
    ) -> Mask:
        valid: Mask = ~_is_nan(pixels)
        if band in self.masked:
            valid &= dataset.read_masks(band, **reading) > 0
        else:
            for value in self.nodata[band - 1]:
                valid &= ~equals_value(pixels, value)
        if band in self.transparent:
            valid &= ~np.isin(pixels, self.transparent[band])
        return valid


def validity_of(
    dataset: DatasetReader, decided: tuple[NodataValue | None, ...] | None = None
) -> Validity:
    """Read the rule of a dataset from its header.

    `decided`: the nodata value of each band by `decide_nodata`, which counts beside that of the
    file; None to go by the file alone.
    """
    dtypes = dataset.dtypes
    color = transparent_color(dataset)
    own = color or nodata_values(dataset)
    given = decided if decided is not None else (None,) * len(own)
    alpha = next(
        (
            band
            for band, interpretation in zip(dataset.indexes, dataset.colorinterp, strict=True)
            if interpretation is ColorInterp.alpha and dataset.count > 1
        ),
        None,
    )
    nodata = tuple(
        tuple(
            value
            for value in dict.fromkeys(values)
            if value is not None and representable(value, dtype)
        )
        for values, dtype in zip(zip(own, given, strict=True), dtypes, strict=True)
    )
    transparent = {
        band: entries
        for band in dataset.indexes
        if (entries := _transparent_entries(dataset, band, nodata[band - 1]))
    }
    return Validity(
        nodata=nodata,
        nodata_is_color=color is not None or (alpha is not None and any(nodata)),
        masked=frozenset(
            band
            for band, flags in zip(dataset.indexes, dataset.mask_flag_enums, strict=True)
            if _is_stored_mask(flags) and band != alpha
        ),
        alpha=alpha,
        transparent=transparent,
    )


def pixel_validity(dataset: DatasetReader, **reading: Any) -> Mask:
    """Return `Validity.of_pixels` of a dataset, by the file alone."""
    return validity_of(dataset).of_pixels(dataset, **reading)


def has_stored_mask(dataset: DatasetReader) -> bool:
    """Return whether a mask is stored that is neither a nodata value nor an alpha band."""
    return any(_is_stored_mask(flags) for flags in dataset.mask_flag_enums)


def has_masks_by_band(dataset: DatasetReader) -> bool:
    """Return whether a mask is stored for each of several bands."""
    return dataset.count > 1 and any(flags == [] for flags in dataset.mask_flag_enums)


def transparent_color(dataset: DatasetReader) -> tuple[NodataValue, ...] | None:
    """Return the one colour that is transparent, a value for each band, or None.

    GDAL reports it for a PNG in colour with a tRNS chunk, and wherever the tag NODATA_VALUES is.
    """
    flags = dataset.mask_flag_enums[0]
    if MaskFlags.per_dataset not in flags or MaskFlags.nodata not in flags:
        return None
    values = dataset.tags().get("NODATA_VALUES", "").split()
    return tuple(float(value) for value in values[: dataset.count]) or None


def nodata_values(dataset: DatasetReader) -> tuple[NodataValue | None, ...]:
    """Return the nodata value of each band as the file has it; 64-bit integers are exact."""
    if {"int64", "uint64"} & set(dataset.dtypes):
        return exact_nodata_values(dataset)
    return tuple(dataset.nodatavals)


def equals_value(pixels: Values, value: NodataValue) -> Mask:
    """Return where the pixels have the value, which their dtype can hold. NaN equals NaN."""
    if isinstance(value, float) and math.isnan(value):
        return _is_nan(pixels)
    return np.asarray(pixels == np.asarray(value).astype(pixels.dtype))


def _is_nan(pixels: Values) -> Mask:
    if pixels.dtype.kind != "f":
        return np.zeros(pixels.shape, dtype=np.bool_)
    return np.asarray(np.isnan(pixels))


def _is_stored_mask(flags: list[MaskFlags]) -> bool:
    # GDAL flags a transparent colour as both a mask of the dataset and nodata.
    other = {MaskFlags.alpha, MaskFlags.nodata}
    return flags == [] or (MaskFlags.per_dataset in flags and not other & set(flags))


def _transparent_entries(
    dataset: DatasetReader, band: int, nodata: tuple[NodataValue, ...]
) -> tuple[int, ...]:
    if dataset.colorinterp[band - 1] is not ColorInterp.palette:
        return ()
    # GDAL makes the entry of the nodata value transparent.
    return tuple(
        value
        for value, (*_, alpha) in color_table(dataset, band).items()
        if alpha == 0 and value not in nodata
    )


@dataclass(frozen=True)
class NodataDecision:
    """The nodata value of each band, in band order; None for a band without nodata."""

    values: tuple[NodataValue | None, ...]
    warnings: tuple[Finding, ...] = ()


def decide_nodata(
    file_values: tuple[NodataValue | None, ...],
    dtypes: tuple[str, ...],
    requested: float | None,
    display_name: str,
    *,
    assumed: float | None = None,
    has_color: bool = False,
) -> NodataDecision:
    """Return the nodata value of each band.

    `assumed`: the default of the format, for a file that gives none.
    `has_color`: the values are one transparent colour, which becomes a mask, so no band has nodata.
    A TIFF holds one nodata value for all bands. If the bands have different values, the request
    must give one value, and conversion replaces the values of the bands with it.
    Raises NodataConflict: if the bands have different values and the request gives none, if all
    bands have one value and the request gives another, or if a band cannot hold the value.
    """
    if has_color:
        if requested is not None:
            raise NodataConflict(
                f"{display_name!r} has a transparent colour, but the request gives the nodata "
                f"value {requested:g}.",
                remedy="Omit `nodata`: pixels of this colour are masked.",
            )
        return NodataDecision(tuple(None for _ in dtypes))
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
        return NodataDecision(tuple(as_held(requested, dtype) for dtype in dtypes), tuple(warnings))
    if assumed is not None and not distinct and all(representable(assumed, d) for d in dtypes):
        warnings.append(
            Finding(
                code="NODATA_ASSUMED",
                message=f"The file gives no nodata value; {assumed:g}, the default of its format, "
                "is used.",
            )
        )
        return NodataDecision(tuple(assumed for _ in dtypes), tuple(warnings))
    if len(distinct) > 1:
        raise NodataConflict(
            f"The bands of {display_name!r} have different nodata values: "
            f"{', '.join(f'{value:g}' for value in distinct)}.",
            remedy="Set `nodata` to one value that every band can hold; bands are rewritten to it.",
        )
    return _extend_to_all_bands(band_values, distinct, dtypes, warnings, display_name)


def representable(value: NodataValue, dtype: str) -> bool:
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


def as_held(value: NodataValue, dtype: str) -> NodataValue:
    """Return the value as a band of 64-bit integers holds it, other values unchanged.

    The largest integers of 64 bits, common nodata values, are rounded up by one as floats, as which
    they come from a request.
    """
    kind = np.dtype(dtype)
    if kind.kind not in "iu" or kind.itemsize < 8 or not math.isfinite(value):
        return value
    largest = np.iinfo(kind).max
    return largest if value == float(largest) else int(value) if value == int(value) else value


def same_value(first: NodataValue | None, second: NodataValue | None) -> bool:
    """Return whether both are equal within float32 rounding; NaN equals NaN, None equals None."""
    if first is None or second is None:
        return first is second
    if isinstance(first, int) and isinstance(second, int):
        return first == second
    return (
        first == second
        or (math.isnan(first) and math.isnan(second))
        or math.isclose(first, second, rel_tol=1e-7)
    )


def _distinct(values: tuple[NodataValue | None, ...]) -> list[NodataValue]:
    distinct: list[NodataValue] = []
    for value in values:
        if value is not None and not any(same_value(value, other) for other in distinct):
            distinct.append(value)
    return distinct


def _check_requested(
    requested: float, distinct: list[NodataValue], dtypes: tuple[str, ...], display_name: str
) -> None:
    for index, dtype in enumerate(dtypes, start=1):
        if not representable(as_held(requested, dtype), dtype):
            raise NodataConflict(
                f"Band {index} of {display_name!r} is {dtype} and cannot hold the nodata value "
                f"{requested:g}."
            )
    if len(distinct) == 1 and not same_value(distinct[0], as_held(requested, dtypes[0])):
        raise NodataConflict(
            f"{display_name!r} has the nodata value {distinct[0]:g}, but the request gives "
            f"{requested:g}.",
            remedy="Omit `nodata` to use the value of the file.",
        )


def _extend_to_all_bands(
    band_values: tuple[NodataValue | None, ...],
    distinct: list[NodataValue],
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
