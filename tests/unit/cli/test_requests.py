"""The requests of one call: names that would collide, parameters that no source takes, errors
raised in order.
"""

import json
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.chains.raster import RASTER
from geo_platform.chains.vector import VECTOR
from geo_platform.cli.application import Application
from geo_platform.cli.requests import SourceRequest, names_for_collisions, requests_of
from geo_platform.cli.sources import find_local
from geo_platform.errors import SourceNotFound, SourceUnreadable, UnsupportedFormat
from geo_platform.settings import Settings
from geo_platform.vector.field_names import dataset_name

POINT = {"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [1, 2]}}


def _requests(*paths: Path, **parameters: Any) -> list[SourceRequest]:
    application = Application(Settings(home=Path("/nowhere")))
    candidates = [find_local(path, application) for path in paths]
    return requests_of(candidates, parameters, lambda: application.objects)


def _vector(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [POINT]}))
    return path


def test_files_of_one_name_in_two_folders_get_different_names(tmp_path: Path) -> None:
    requests = _requests(
        _vector(tmp_path / "north" / "roads.geojson"), _vector(tmp_path / "south" / "roads.geojson")
    )
    assert [request.parameters for request in requests] == [
        {"item_id": "north-roads", "table_name": "north_roads"},
        {"item_id": "south-roads", "table_name": "south_roads"},
    ]


def test_a_given_name_is_kept(tmp_path: Path) -> None:
    paths = [_vector(tmp_path / folder / "roads.geojson") for folder in ("north", "south")]
    assert {
        request.parameters["table_name"] for request in _requests(*paths, table_name="mine")
    } == {"mine"}


def test_different_names_are_kept(tmp_path: Path) -> None:
    assert [
        request.parameters
        for request in _requests(_vector(tmp_path / "a.geojson"), _vector(tmp_path / "b.geojson"))
    ] == [{}, {}]


def test_datasets_can_collide_where_items_do_not() -> None:
    """`roads.2020` and `roads.2021` are two items, but a table's name is the part before the first
    dot.
    """
    assert names_for_collisions(["in/roads.2020.geojson", "in/roads.2021.geojson"], VECTOR) == {
        "in/roads.2020.geojson": {"table_name": "in_roads_2020"},
        "in/roads.2021.geojson": {"table_name": "in_roads_2021"},
    }
    assert names_for_collisions(["in/roads.2020.tif", "in/roads.2021.tif"], RASTER) == {}


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1).map(
            lambda name: f"in/{name}"
        ),
        max_size=4,
    )
)
def test_every_table_name_is_valid(keys: list[str]) -> None:
    for names in names_for_collisions(keys, VECTOR).values():
        assert dataset_name(names["table_name"], "") == names["table_name"]


def test_an_unusable_source_raises_in_its_turn_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "unpacked.gdb").mkdir()
    requests = _requests(
        tmp_path / "gone.tif",
        tmp_path / "unpacked.gdb",
        tmp_path / ("x" * 300),
        _vector(tmp_path / "a.geojson"),
    )
    for request, expected in zip(
        requests, [SourceNotFound, UnsupportedFormat, SourceUnreadable], strict=False
    ):
        with pytest.raises(expected) as raised:
            request.known_chain()
        assert request.candidate.name in str(raised.value)
    assert requests[-1].known_chain() is VECTOR


def test_a_parameter_that_no_source_takes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="--jpeg-quality"):
        _requests(_vector(tmp_path / "a.geojson"), jpeg_quality=80)
