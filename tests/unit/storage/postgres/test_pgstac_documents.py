"""Convert documents to jsonb and back, without a database."""

import json
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.errors import CatalogRejected
from geo_platform.storage.postgres.pgstac_documents import (
    Addresses,
    in_order,
    null_paths,
    read_item,
    to_jsonb,
    to_store,
    with_nulls,
)
from tests.support.publications import COLLECTION, item

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


def as_jsonb(text: str) -> Any:
    """Parse JSON as PostgreSQL prints jsonb: numbers in full, with the decimal point they had."""
    marked = json.dumps(json.loads(text, parse_float=lambda number: f"<{Decimal(number):f}>"))
    return json.loads(marked.replace('"<', "").replace('>"', ""))


@pytest.mark.parametrize(
    "number",
    [
        -3.4028234663852886e38,
        1.7976931348623157e308,
        1e16,
        1e23,
        9.223372036854776e18,
        1e-300,
        0.1,
        5e-324,
    ],
)
def test_floats_are_returned_unchanged(number: float) -> None:
    (found,) = as_jsonb(to_jsonb({"n": number}, "it")).values()
    assert (type(found), found) == (float, number)


@given(st.permutations(["zebra", "archive", "data", "preview", "analysis", "thumbnail"]))
def test_assets_are_sorted_and_none_is_lost(names: list[str]) -> None:
    ordered = in_order({name: {"href": name} for name in names})
    assert list(ordered) == ["data", "analysis", "archive", "thumbnail", "preview", "zebra"]
    assert all(asset == {"href": name} for name, asset in ordered.items())


@pytest.mark.parametrize(
    "text", ["1e+20", 'say "1e+20"', "\\1e+20\\", "\\", '\\"1e+20', "-1.5e+300,"]
)
def test_strings_that_look_like_numbers_stay_strings(text: str) -> None:
    assert json.loads(to_jsonb({text: [text, 1e20]}, "it")) == {text: [text, 1e20]}


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=4))
def test_any_document_reads_back_unchanged(document: dict[str, Any]) -> None:
    assert repr(json.loads(to_jsonb(document, "it"))) == repr(document)


def without_nulls(value: Any) -> Any:
    """Return the document as pgSTAC stores it."""
    if isinstance(value, dict):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    return [without_nulls(member) for member in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(max_size=4), VALUES, max_size=4))
def test_dropped_nulls_are_restored(document: dict[str, Any]) -> None:
    assert with_nulls(without_nulls(document), null_paths(document)) == document


@given(
    st.dictionaries(st.text(max_size=4), VALUES, max_size=4),
    st.dictionaries(st.text(max_size=4), VALUES, max_size=4),
)
def test_restoring_nulls_accepts_a_document_that_was_changed(
    document: dict[str, Any], other: dict[str, Any]
) -> None:
    changed = with_nulls(json.loads(json.dumps(other)), null_paths(document))
    assert without_nulls(changed) == without_nulls(other)


def test_a_document_without_json_is_refused_by_name() -> None:
    with pytest.raises(CatalogRejected, match="The item scene"):
        to_jsonb({"n": math.inf}, "The item scene")


def test_structural_links_are_not_stored() -> None:
    addresses = Addresses.of("https://stac.example/root/", "host:5432/db")
    linked = addresses.linked_item(item())
    linked["links"] += [
        {"rel": "predecessor-version", "href": "file:///v1.json"},
        {"rel": "items", "href": "x"},
    ]
    assert to_store(linked)["links"] == item()["links"]
    assert addresses.linked_item(to_store(linked))["links"][-1] == {
        "rel": "self",
        "href": "https://stac.example/root/collections/rasters/items/scene",
        "type": "application/geo+json",
    }


def test_without_a_server_links_have_the_pgstac_scheme() -> None:
    addresses = Addresses.of(None, "host:5432/db")
    assert (
        addresses.item("rasters", "a b/c")
        == "pgstac://host:5432/db/collections/rasters/items/a%20b%2Fc"
    )
    assert {link["rel"] for link in addresses.linked_collection(dict(COLLECTION))["links"]} == {
        "root",
        "parent",
        "items",
        "self",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"properties": 3},
        {"assets": {"data": {}}},
        {"links": [{"rel": "x"}]},
        {"id": 3},
        {"type": "Elephant"},
    ],
)
def test_faults_in_items_of_other_programs_are_named(change: dict[str, Any]) -> None:
    with pytest.raises(CatalogRejected, match="cannot be used"):
        read_item(json.dumps(item() | change), None)


def test_an_item_without_links_is_accepted() -> None:
    document = item()
    del document["links"]
    assert read_item(json.dumps(document), None)["links"] == []
