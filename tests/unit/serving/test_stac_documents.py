"""Documents of the STAC API lead to the API, and keep the store's own addresses."""

from geo_platform.ports import ASSET_SCHEMA, ASSET_TABLE
from geo_platform.serving.downloads import ALTERNATE_ASSETS
from geo_platform.serving.stac.documents import StacAddresses, with_fields
from geo_platform.serving.stac.request import FieldPaths
from tests.support.publications import item

ADDRESSES = StacAddresses("https://geo.example/api/stac/")


def test_a_table_leads_to_its_rows_and_an_unknown_asset_stays() -> None:
    document = item("wells", collection="vectors", table="geo.wells")
    table = document["assets"]["table"]
    document["assets"]["table_points"] = {**table, ASSET_TABLE: "wells_points"}
    assets = ADDRESSES.linked_item(document)["assets"]
    rows = "https://geo.example/api/features/collections/vectors%3Awells"
    assert assets["table"]["href"] == f"{rows}/items"
    assert assets["table"]["alternate"]["store"]["href"] == table["href"]
    assert assets["table"][ASSET_SCHEMA] == "geo"
    assert assets["table_points"]["href"] == f"{rows}%3Apoints/items"
    assert assets["data"] == document["assets"]["data"]


def test_the_extension_is_named_once_and_only_if_it_is_used() -> None:
    document = item("dem")
    assert ALTERNATE_ASSETS not in ADDRESSES.linked_item(document)["stac_extensions"]
    document["assets"]["data"] |= {"geo_platform:container": "silver", "geo_platform:key": "k"}
    document["stac_extensions"] = [ALTERNATE_ASSETS]
    assert ADDRESSES.linked_item(document)["stac_extensions"] == [ALTERNATE_ASSETS]


def test_an_id_is_escaped_and_links_of_the_store_are_replaced() -> None:
    document = {**item("a b"), "links": [{"rel": "self", "href": "file:///a.json"}]}
    document["links"].append({"rel": "predecessor-version", "href": "file:///versions/b.json"})
    hrefs = [link["href"] for link in ADDRESSES.linked_item(document)["links"]]
    assert hrefs[0] == "https://geo.example/api/stac/collections/rasters/items/a%20b"
    assert not [href for href in hrefs if href.startswith("file:")]


def test_a_part_that_is_included_is_not_excluded() -> None:
    document = {"id": "a", "type": "Feature", "properties": {"x": 1, "y": {"z": 2, "w": 3}}}
    chosen = with_fields(document, FieldPaths((("properties", "y"),), (("properties",),)))
    assert chosen == {"id": "a", "type": "Feature", "properties": {"y": {"z": 2, "w": 3}}}
    chosen = with_fields(document, FieldPaths((), (("properties", "y", "z"),)))
    assert chosen["properties"] == {"x": 1, "y": {"w": 3}}
    assert with_fields(document, None) is document
