"""One name for the same work, another for other work."""

import math

import pytest

from geo_platform.fingerprint import RECIPE_VERSIONS, extend


def test_the_order_of_options_does_not_matter_and_their_values_do() -> None:
    one = extend("e", "raster_cog", {"a": 1, "b": 2})
    assert one == extend("e", "raster_cog", {"b": 2, "a": 1})
    assert (
        len(
            {
                one,
                extend("e", "raster_cog", {"a": 1, "b": 3}),
                extend("f", "raster_cog", {"a": 1, "b": 2}),
            }
        )
        == 3
    )
    assert one != extend("e", "raster_item", {"a": 1, "b": 2})


@pytest.mark.parametrize("nodata", [math.nan, math.inf, -math.inf])
def test_a_nodata_value_need_not_be_a_finite_number(nodata: float) -> None:
    assert extend("e", "raster_profile", {"nodata": nodata}) == extend(
        "e", "raster_profile", {"nodata": nodata}
    )
    assert extend("e", "raster_profile", {"nodata": nodata}) != extend(
        "e", "raster_profile", {"nodata": None}
    )


def test_every_stage_has_a_recipe() -> None:
    assert all(version >= 1 for version in RECIPE_VERSIONS.values())
