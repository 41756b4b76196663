"""Detect the raster type from the bands; the user may give another."""

import pytest

from geo_platform.contracts.raster import BandStatistics, RasterBand, RasterType
from geo_platform.errors import RasterTypeMismatch
from geo_platform.raster.detection import decide_type, detect_type
from geo_platform.raster.options import RasterTypeChoice


def band(
    dtype: str,
    color: str = "undefined",
    *,
    low: float = 0,
    high: float = 200,
    distinct: int | None = 150,
    index: int = 1,
) -> RasterBand:
    figures = BandStatistics(
        minimum=low,
        maximum=high,
        mean=low,
        standard_deviation=1,
        valid_percent=100,
        distinct_values=distinct,
        sampled_pixels=1000,
    )
    return RasterBand(
        index=index,
        dtype=dtype,
        nodata=None,
        nodata_is_nan=False,
        color_interpretation=color,
        has_color_table=color == "palette",
        scale=1,
        offset=0,
        unit=None,
        description=None,
        mask="all_valid",
        statistics=figures,
    )


RGB = tuple(band("uint8", color) for color in ("red", "green", "blue"))


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        (RGB, RasterType.rgb),
        (tuple(band("uint16") for _ in range(3)), RasterType.rgb),
        (tuple(band("float32") for _ in range(3)), RasterType.multispectral),
        ((*RGB, band("uint8", "alpha")), RasterType.rgba),
        ((*RGB, band("uint8", distinct=2)), RasterType.rgba),
        ((*RGB, band("uint8", distinct=11)), RasterType.nir),
        (tuple(band("uint16") for _ in range(5)), RasterType.multispectral),
        ((band("float32", low=-5, high=2000, distinct=None),), RasterType.dem),
        ((band("int16", low=-5, high=2000, distinct=1500),), RasterType.dem),
        ((band("int32", low=-5, high=2000, distinct=1500),), RasterType.dem),
        ((band("int16", low=1, high=12, distinct=12),), RasterType.categorical),
        ((band("uint8", "gray", distinct=12),), RasterType.categorical),
        ((band("uint8", "gray", distinct=200),), RasterType.continuous),
        ((band("uint16", distinct=255),), RasterType.categorical),
        ((band("uint16", distinct=4000),), RasterType.continuous),
        ((band("uint8", "palette", distinct=200),), RasterType.categorical),
        ((band("float32", low=-0.4, high=0.9, distinct=None),), RasterType.continuous),
        ((band("float32", low=-5, high=2000), band("float32", "alpha")), RasterType.dem),
    ],
)
def test_rule(bands: tuple[RasterBand, ...], expected: RasterType) -> None:
    found = detect_type(bands)
    assert found.raster_type is expected
    assert 0.5 <= found.confidence < 1
    assert found.reason


def test_the_requested_type_takes_precedence() -> None:
    found = decide_type(
        (band("int16", high=2000, distinct=1500),),
        RasterTypeChoice.categorical,
        strict=False,
        display_name="a.tif",
    )
    assert (found.raster_type, found.confidence) == (RasterType.categorical, 1.0)


@pytest.mark.parametrize(
    ("choice", "bands"),
    [
        (RasterTypeChoice.rgb, (band("uint8"),)),
        (RasterTypeChoice.rgba, RGB),
        (RasterTypeChoice.nir, RGB),
        (RasterTypeChoice.dem, RGB),
        (RasterTypeChoice.multispectral, (band("uint8"),)),
        (RasterTypeChoice.categorical, (band("float32", distinct=None),)),
    ],
)
def test_a_type_that_the_bands_cannot_have_is_refused(
    choice: RasterTypeChoice, bands: tuple[RasterBand, ...]
) -> None:
    with pytest.raises(RasterTypeMismatch, match=r"a\.tif"):
        decide_type(bands, choice, strict=False, display_name="a.tif")


def test_strict_mode_refuses_a_type_that_differs_from_the_detected_one() -> None:
    with pytest.raises(RasterTypeMismatch, match="looks like rgb"):
        decide_type(RGB, RasterTypeChoice.multispectral, strict=True, display_name="a.tif")
