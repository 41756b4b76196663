"""Decide the nodata value from those of the file and the user."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.errors import NodataConflict
from geo_platform.raster.validity import decide_nodata, representable, same_value


def test_the_value_of_the_file_is_kept_even_nan() -> None:
    found = decide_nodata((math.nan, math.nan), ("float32", "float32"), None, "a.tif")
    assert all(value is not None and math.isnan(value) for value in found.values)
    assert not found.warnings


def test_the_value_of_the_user_is_used_if_the_file_has_none() -> None:
    assert decide_nodata((None, None), ("int16", "int16"), -9999.0, "a.tif").values == (
        -9999.0,
        -9999.0,
    )


@pytest.mark.parametrize(
    ("own", "dtypes", "given_value"),
    [
        ((0.0,), ("uint8",), 255.0),
        ((None,), ("uint8",), -9999.0),
        ((None,), ("uint8",), 1.5),
        ((None,), ("int16",), math.nan),
        ((0.0, 255.0), ("uint8", "uint8"), None),
        ((-9999.0, None), ("float32", "uint8"), None),
    ],
)
def test_conflicts_are_refused(
    own: tuple[float | None, ...], dtypes: tuple[str, ...], given_value: float | None
) -> None:
    with pytest.raises(NodataConflict, match=r"a\.tif"):
        decide_nodata(own, dtypes, given_value, "a.tif")


def test_the_value_of_the_user_resolves_bands_that_differ() -> None:
    assert decide_nodata((0.0, 255.0), ("uint8", "uint8"), 7.0, "a.tif").values == (7.0, 7.0)


def test_a_value_that_no_pixel_can_have_is_dropped_with_a_warning() -> None:
    found = decide_nodata((-9999.0,), ("uint8",), None, "a.tif")
    assert found.values == (None,)
    assert [warning.code for warning in found.warnings] == ["NODATA_UNREPRESENTABLE"]


def test_nodata_of_some_bands_is_extended_to_all_with_a_warning() -> None:
    found = decide_nodata((0.0, None), ("uint8", "uint8"), None, "a.tif")
    assert found.values == (0.0, 0.0)
    assert [warning.code for warning in found.warnings] == ["NODATA_EXTENDED"]


def test_float32_lowest_value_is_representable_however_it_was_rounded() -> None:
    assert representable(-3.4028230607370965e38, "float32")
    assert representable(-3.40282346638529e38, "float32")
    assert not representable(-1e300, "float32")


@given(st.integers(-300, 70_000))
def test_integers_fit_by_their_range(value: int) -> None:
    assert representable(float(value), "uint8") is (0 <= value <= 255)
    assert representable(float(value), "int16") is (-32_768 <= value <= 32_767)


@given(st.floats(allow_infinity=False))
def test_a_value_is_the_same_as_itself(value: float) -> None:
    assert same_value(value, value)
    assert not same_value(value, None)
