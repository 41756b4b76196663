"""Default ids, collections and titles."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.catalog.naming import default_collection, default_item_id, default_title
from geo_platform.contracts.arrival import SourceKind
from geo_platform.options import ItemOptions
from geo_platform.storage.stac_documents import check_id


@pytest.mark.parametrize(
    ("key", "item_id"),
    [
        (
            "home/me/LC08_L1TP_044034_20200110_20200113_01_T1.TIF",
            "LC08_L1TP_044034_20200110_20200113_01_T1",
        ),
        ("naturalearth_lowres.shp.zip", "naturalearth_lowres"),
        ("N37W122.SRTMGL1.hgt.zip", "N37W122.SRTMGL1"),
        ("roads.osm.pbf", "roads"),
        ("my  file (final).gpkg", "my-file-final"),
        ("Café Zürich.geojson", "Cafe-Zurich"),
        ("v1.2.3.tif", "v1.2.3"),
        ("no_extension", "no_extension"),
        ("..weird..tif", "weird"),
        ("collection.json", "collection"),
    ],
)
def test_ids_from_names(key: str, item_id: str) -> None:
    assert default_item_id(key) == item_id


def test_names_in_other_scripts_get_different_ids() -> None:
    ids = {
        default_item_id(name)
        for name in ("東京.tif", "大阪.tif", "東京 2020.tif", "大阪 2020.tif", "2020.tif")
    }
    assert len(ids) == 5
    assert default_title("a/東京.tif") == "東京"


@given(st.text(min_size=1, max_size=260))
def test_every_default_id_is_valid_for_options_and_catalog(key: str) -> None:
    item_id = default_item_id(key)
    assert check_id(item_id) == item_id
    assert ItemOptions(item_id=item_id).item_id == item_id
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", item_id)
    assert default_item_id(key) == item_id


@given(
    st.from_regex(r"[A-Za-z0-9](_?[A-Za-z0-9]){0,40}", fullmatch=True),
    st.sampled_from([".tif", ".JP2", ".shp.zip", ".geojson", ".gml"]),
)
def test_a_plain_name_is_its_own_id_whatever_the_folder(name: str, suffix: str) -> None:
    assert default_item_id(f"some/folder.tif/{name}{suffix}") == name


def test_collections() -> None:
    assert [default_collection(kind) for kind in (SourceKind.raster, SourceKind.vector)] == [
        "rasters",
        "vectors",
    ]
