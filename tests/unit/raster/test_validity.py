"""Decide the nodata value from those of the file, the format and the user."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.errors import NodataConflict
from geo_platform.raster.validity import as_held, decide_nodata, representable, same_value


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


@pytest.mark.parametrize(
    ("requested", "dtype", "held"),
    [
        (float(2**64 - 1), "uint64", 2**64 - 1),
        (float(2**63 - 1), "int64", 2**63 - 1),
        (float(-(2**63)), "int64", -(2**63)),
        (-9999.0, "int64", -9999),
        (255.0, "uint8", 255.0),
    ],
)
def test_the_users_integers_of_64_bits_are_those_of_the_band(
    requested: float, dtype: str, held: float
) -> None:
    assert as_held(requested, dtype) == held
    assert decide_nodata((None,), (dtype,), requested, "a.tif").values == (held,)


def test_the_files_integer_of_64_bits_agrees_with_the_users_float() -> None:
    found = decide_nodata((2**64 - 1,), ("uint64",), float(2**64 - 1), "a.tif")
    assert found.values == (2**64 - 1,)


def test_the_default_of_the_format_is_used_and_said() -> None:
    found = decide_nodata((None,), ("int32",), None, "a.asc", assumed=-9999.0)
    assert found.values == (-9999.0,)
    assert [warning.code for warning in found.warnings] == ["NODATA_ASSUMED"]
    assert decide_nodata((0.0,), ("int32",), None, "a.asc", assumed=-9999.0).values == (0.0,)
    assert decide_nodata((None,), ("int32",), 7.0, "a.asc", assumed=-9999.0).values == (7.0,)


def test_a_transparent_colour_is_no_nodata_value() -> None:
    cream, dtypes = (250.0, 240.0, 230.0), ("uint8", "uint8", "uint8")
    found = decide_nodata(cream, dtypes, None, "a.png", has_color=True)
    assert found.values == (None, None, None)
    with pytest.raises(NodataConflict, match="transparent colour"):
        decide_nodata(cream, dtypes, 0.0, "a.png", has_color=True)
