"""Extents of collections, also across the antimeridian."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from geo_platform.storage.stac_documents import item_extent, union

LONGITUDES = st.integers(-180, 180)


def boxed(west: float, east: float) -> dict[str, Any]:
    return item_extent({"bbox": [west, -1, east, 1], "properties": {"datetime": None}})


def contains(box: list[float], longitude: float) -> bool:
    west, _, east, _ = box
    return west <= longitude <= east if west <= east else longitude >= west or longitude <= east


@given(st.lists(st.tuples(LONGITUDES, LONGITUDES), min_size=1, max_size=6))
def test_the_union_contains_every_box_and_its_centre(arcs: list[tuple[int, int]]) -> None:
    (box,) = union(boxed(*arc) for arc in arcs)["spatial"]["bbox"]
    assert all(-180 <= side <= 180 for side in (box[0], box[2]))
    for west, east in arcs:
        middle = (west + east) / 2 if west <= east else ((west + east + 360) / 2 + 180) % 360 - 180
        for longitude in (west, middle, east):
            assert contains(box, longitude) or (
                abs(longitude) == 180 and contains(box, -longitude)
            ), (
                box,
                arcs,
                longitude,
            )


def test_the_union_across_the_antimeridian_is_narrow() -> None:
    assert union([boxed(170, 175), boxed(178, -179), boxed(-178, -170)])["spatial"]["bbox"] == [
        [170, -1, -170, 1]
    ]
    assert union([boxed(170, 175), boxed(-10, 10)])["spatial"]["bbox"] == [[-10, -1, 175, 1]]


def test_the_interval_covers_times_spans_and_missing_times() -> None:
    spans = [
        {"properties": {"datetime": "2020-06-01T00:00:00Z"}},
        {
            "properties": {
                "datetime": None,
                "start_datetime": "2019-01-01T00:00:00Z",
                "end_datetime": "2021-01-01T00:00:00Z",
            }
        },
    ]
    assert union(map(item_extent, spans)) == {
        "spatial": {"bbox": [[-180, -90, 180, 90]]},
        "temporal": {"interval": [["2019-01-01T00:00:00Z", "2021-01-01T00:00:00Z"]]},
    }
    assert union([]) == {
        "spatial": {"bbox": [[-180, -90, 180, 90]]},
        "temporal": {"interval": [[None, None]]},
    }


def test_heights_are_ignored() -> None:
    assert union([item_extent({"bbox": [0, 1, 100, 2, 3, 200], "properties": {}})])["spatial"][
        "bbox"
    ] == [[0, 1, 2, 3]]
