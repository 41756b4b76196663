"""Equal work has one fingerprint, and other work another."""

import math
from datetime import UTC, datetime

import pytest

from geo_platform.chains.chain import Chain
from geo_platform.chains.registry import CHAINS, chain_of_stage
from geo_platform.contracts.arrival import SourceFormat
from geo_platform.contracts.message import ObjectReference
from geo_platform.fingerprint import Recipe
from geo_platform.ports import StoredObject
from geo_platform.source.arrival import FoundSource, arrival_message
from geo_platform.source.sniff import DetectedSource


def test_the_values_of_options_matter_and_their_order_does_not() -> None:
    one = Recipe("raster_cog").extend("e", {"a": 1, "b": 2})
    assert one == Recipe("raster_cog").extend("e", {"b": 2, "a": 1})
    assert (
        len(
            {
                one,
                Recipe("raster_cog").extend("e", {"a": 1, "b": 3}),
                Recipe("raster_cog").extend("f", {"a": 1, "b": 2}),
            }
        )
        == 3
    )
    assert one != Recipe("raster_item").extend("e", {"a": 1, "b": 2})


@pytest.mark.parametrize("nodata", [math.nan, math.inf, -math.inf])
def test_a_nodata_value_can_be_infinite_or_nan(nodata: float) -> None:
    assert Recipe("raster_profile").extend("e", {"nodata": nodata}) == Recipe(
        "raster_profile"
    ).extend("e", {"nodata": nodata})
    assert Recipe("raster_profile").extend("e", {"nodata": nodata}) != Recipe(
        "raster_profile"
    ).extend("e", {"nodata": None})


def test_every_stage_has_a_recipe() -> None:
    assert all(stage.recipe.version >= 1 for chain in CHAINS for stage in chain.stages)


# A changed value redoes everything that is published.
PINNED = {
    "raw_raster": "9bad0bab0d31f385cdaf19b98af82bde",
    "raster_profile": "27cb72b6903e20308d6a2cdaaafae717",
    "raster_cog": "c87fdd5d34d8f6871e307296eadd0a8c",
    "raster_item": "214b62b6cfce52366ead918c764b6974",
    "raw_vector": "6a6e12f6440f1dd899f549eb4145a6cd",
    "vector_profile": "c84fa1d3ee42e9b85275f6cc05f7bb70",
    "vector_features": "8666856623208bcf93e6c6343fa40d75",
    "vector_item": "5265821699e329419a13e47883e208a8",
}


@pytest.mark.parametrize(("stage", "expected"), PINNED.items())
def test_the_fingerprint_of_each_stage_is_stable(stage: str, expected: str) -> None:
    recipe = chain_of_stage(stage).stage(stage).recipe
    assert recipe.extend("e", {"a": 1, "b": None}) == expected


# With every option at its default, on a source with the etag "etag-1".
PINNED_AHEAD = {
    "raster": "ef108c2e82b4f729a4be81a5eb77af9b",
    "vector": "416234383ac0c8ff60badf420d97a881",
}


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain.name)
def test_the_last_fingerprint_is_known_before_a_run(chain: Chain) -> None:
    stored = StoredObject(
        ObjectReference(container="bronze", key="a", uri="file:///a", etag="etag-1", size_bytes=1),
        last_modified_utc=datetime(2026, 1, 1, tzinfo=UTC),
        metadata={},
    )
    detected = DetectedSource(SourceFormat.csv, chain.kind, "text/csv")
    arrived = arrival_message(
        FoundSource(stored, (), detected), force=False, recipe=chain.first.recipe
    )
    assert chain.fingerprint(arrived, chain.fit({})) == PINNED_AHEAD[chain.name]
