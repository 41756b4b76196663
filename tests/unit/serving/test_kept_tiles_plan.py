"""Which tiles are kept."""

from hypothesis import given
from hypothesis import strategies as st

from geo_platform.serving.features.kept_tiles import (
    DEEPEST_KEPT,
    KEPT_FROM_ROWS,
    MAX_TILES,
    plan_tiles,
)
from geo_platform.serving.features.tiles import TileAddress

SIDE = 2**DEEPEST_KEPT
_COUNTS = st.dictionaries(
    st.builds(
        TileAddress,
        st.just(DEEPEST_KEPT),
        st.integers(0, SIDE - 1),
        st.integers(0, SIDE - 1) | st.integers(0, 40),
    ),
    st.integers(1, 3 * KEPT_FROM_ROWS),
    max_size=60,
)


def _rows(deepest: dict[TileAddress, int], tile: TileAddress) -> int:
    by = DEEPEST_KEPT - tile.z
    return sum(
        rows for each, rows in deepest.items() if (each.x >> by, each.y >> by) == (tile.x, tile.y)
    )


@given(deepest=_COUNTS)
def test_exactly_the_tiles_of_many_rows_are_kept(deepest: dict[TileAddress, int]) -> None:
    planned = plan_tiles(deepest)
    expected = {
        tile
        for zoom in range(DEEPEST_KEPT + 1)
        for each in deepest
        if _rows(
            deepest,
            tile := TileAddress(zoom, each.x >> DEEPEST_KEPT - zoom, each.y >> DEEPEST_KEPT - zoom),
        )
        >= KEPT_FROM_ROWS
    }
    assert set(planned) == expected
    assert len(planned) == len(expected)
    assert [tile.z for tile in planned] == sorted(tile.z for tile in planned)


def test_whole_zooms_are_kept_up_to_a_number_of_tiles() -> None:
    everywhere = {
        TileAddress(DEEPEST_KEPT, x, y): KEPT_FROM_ROWS
        for x in range(0, SIDE, 64)
        for y in range(0, SIDE, 64)
    }
    planned = plan_tiles(everywhere)
    assert len(planned) == sum(4**zoom for zoom in range(5))
    assert len(planned) <= MAX_TILES
    assert max(tile.z for tile in planned) == 4
