"""Messages on the command line: parameters become options, a key becomes the typed name."""

from pathlib import Path

import pytest

from geo_platform.chains.registry import CHAINS
from geo_platform.cli.parameters import as_typed
from geo_platform.cli.sources import Candidate
from geo_platform.errors import CrsMissing, error_leaves


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "Give it, for example input_crs=EPSG:4326.",
            "Give it, for example --input-crs EPSG:4326.",
        ),
        ("Set override_crs=true, or omit input_crs.", "Set --override-crs, or omit --input-crs."),
        ("Set indexes_spatial=false.", "Set --no-indexes-spatial."),
        ("Set encoding=CP1252; then try.", "Set --encoding CP1252; then try."),
        ("Set nodata=-9999, or omit `nodata`.", "Set --nodata -9999, or omit --nodata."),
        ("(layer_name)", "(--layer-name)"),
        # English words and the names of other things stay.
        ("Every pixel is nodata. Give a title.", "Every pixel is nodata. Give a title."),
        ("No column 'item_id' in \"item_id\".", "No column 'item_id' in \"item_id\"."),
        ("See docs/item_id.md and my-item_id.", "See docs/item_id.md and my-item_id."),
        ("Set --item-id.", "Set --item-id."),
    ],
)
def test_parameters_become_options(text: str, shown: str) -> None:
    assert as_typed(text) == shown


def test_over_http_a_remedy_names_the_parameter() -> None:
    assert "input_crs=EPSG:4326" in CrsMissing("a.tif").as_record()["remedy"]


def test_no_remedy_keeps_the_name_of_a_parameter() -> None:
    names = {name for chain in CHAINS for name in chain.parameters if "_" in name}
    for leaf in error_leaves():
        words = set(as_typed(leaf.default_remedy).replace(".", " ").replace(",", " ").split())
        assert not words & names, leaf.code


def test_a_message_names_the_file_as_it_was_typed() -> None:
    typed = Candidate("../data/a.shp", "local/0123456789ab/a.shp", Path("/data/a.shp"))
    assert typed.as_typed("'local/0123456789ab/a.shp' needs local/0123456789ab/a.dbf.") == (
        "'../data/a.shp' needs ../data/a.dbf."
    )
    address = "It came from file:///store/bronze/local/0123456789ab/a.shp."
    assert typed.as_typed(address) == address
    here = Candidate("a.shp", "local/0123456789ab/a.shp", Path("/data/a.shp"))
    assert here.as_typed("local/0123456789ab/a.dbf is missing.") == "a.dbf is missing."
    stored = Candidate("bronze/in/a.shp", "in/a.shp")
    assert stored.as_typed("'in/a.shp' is empty.") == "'in/a.shp' is empty."
