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


# Computed once and kept: a changed value means that everything published is done again.
PINNED = {
    "raw_raster": "9bad0bab0d31f385cdaf19b98af82bde",
    "raster_profile": "4c1744bc05416c7849cc36d508ba557e",
    "raster_cog": "298262b39a242afe556fe0c6e810bfac",
    "raster_item": "c0b080fa5ff80ba021c40bc404e10a40",
    "raw_vector": "6a6e12f6440f1dd899f549eb4145a6cd",
    "vector_profile": "fcc8c807ca5dc9a7a5283beddc6d8321",
    "vector_features": "3557ab12055a91dc6f55f555ef3c38b4",
    "vector_item": "9409fc077e37c18fd717ca46c3ff0706",
}


@pytest.mark.parametrize(("stage", "expected"), PINNED.items())
def test_the_fingerprint_of_each_stage_stays_as_it_was(stage: str, expected: str) -> None:
    assert extend("e", stage, {"a": 1, "b": None}) == expected
