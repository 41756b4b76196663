"""Find published items by pgSTAC's search, with the queries of pystac-client and a STAC API."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geo_platform.catalog.validate import item_faults
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.pgstac import PgStac
from geo_platform.storage.postgres.pgstac_documents import null_paths, read_item, to_jsonb, to_store
from tests.support.publications import COLLECTION, item
from tests.support.servers import Logins

AREA = {"type": "Polygon", "coordinates": [[[4, 49], [6, 49], [6, 52], [4, 52], [4, 49]]]}


@pytest.fixture
def catalog(database: Logins) -> PgStac:
    catalog = PgStac(database.loader, root_href="https://stac.example")
    for document in (
        item(
            "brussels",
            bbox=(4.3, 50.8, 4.5, 50.9),
            datetime="2021-06-30T10:15:00Z",
            **{"geo_platform:kind": "raster", "gsd": 10},
        ),
        item(
            "lisbon",
            bbox=(-9.2, 38.7, -9.1, 38.8),
            datetime="2019-01-01T00:00:00Z",
            **{"geo_platform:kind": "raster", "gsd": 30},
        ),
        item(
            "roads",
            collection="vectors",
            bbox=(5, 50, 6, 51),
            **{"geo_platform:kind": "vector", "geo_platform:rows_inserted": 7},
        ),
    ):
        catalog.publish({**COLLECTION, "id": document["collection"]}, document, replaces=None)
    return catalog


def search(database: Database, **body: Any) -> list[dict[str, Any]]:
    with database.connect() as connection:
        connection.execute("SET LOCAL search_path TO pgstac, public")
        row = connection.execute("SELECT search(%s::jsonb)::text", [json.dumps(body)]).fetchone()
    assert row is not None
    found: list[dict[str, Any]] = json.loads(row[0])["features"]
    return found


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        ({"ids": ["brussels"]}, ["brussels"]),
        ({"collections": ["vectors"]}, ["roads"]),
        ({"bbox": [4, 50, 5, 51]}, ["brussels", "roads"]),
        ({"intersects": AREA}, ["brussels", "roads"]),
        ({"datetime": "2021-01-01T00:00:00Z/2022-01-01T00:00:00Z"}, ["brussels"]),
        ({"datetime": "../2019-12-31T23:59:59Z"}, ["lisbon"]),
        ({"query": {"gsd": {"gte": 30}}}, ["lisbon"]),
        (
            {
                "filter-lang": "cql2-json",
                "filter": {"op": "=", "args": [{"property": "geo_platform:kind"}, "vector"]},
            },
            ["roads"],
        ),
        (
            {
                "filter-lang": "cql2-json",
                "filter": {"op": ">", "args": [{"property": "geo_platform:rows_inserted"}, 5]},
            },
            ["roads"],
        ),
        (
            {
                "filter-lang": "cql2-json",
                "filter": {"op": "=", "args": [{"property": "geo_platform:run_id"}, "run of v1"]},
                "limit": 2,
            },
            ["brussels", "roads"],
        ),
        (
            {"sortby": [{"field": "datetime", "direction": "asc"}], "collections": ["rasters"]},
            ["lisbon", "brussels"],
        ),
    ],
    ids=lambda value: "" if isinstance(value, list) else next(iter(value)),
)
@pytest.mark.usefixtures("catalog")
def test_an_item_is_found_by_its_fields(
    body: dict[str, Any], ids: list[str], database: Logins
) -> None:
    assert [found["id"] for found in search(database.reader, **body)] == ids


def test_a_search_result_is_valid_with_the_links_of_a_server(
    catalog: PgStac, database: Logins
) -> None:
    """A STAC API adds structural links. None are stored, and with them the item is valid STAC."""
    (found,) = search(database.reader, ids=["brussels"])
    assert [link["rel"] for link in found["links"]] == ["via"]
    served = catalog.item("rasters", "brussels")
    assert served is not None
    assert item_faults(served) == ()
    assert {**found, "links": []} == {**served, "links": []}


def test_an_unpublished_or_replaced_item_is_not_found(catalog: PgStac, database: Logins) -> None:
    catalog.unpublish("rasters", "lisbon", published="v1")
    replacement = item("brussels", "v2", bbox=(20, 50, 21, 51))
    catalog.publish(COLLECTION, replacement, replaces="v1")
    assert [found["id"] for found in search(database.reader, collections=["rasters"])] == [
        "brussels"
    ]
    assert search(database.reader, bbox=[4, 50, 5, 51], collections=["rasters"]) == []


_TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=12,
)


@pytest.mark.usefixtures("catalog")
def test_any_properties_are_returned_unchanged(database: Logins) -> None:
    """Values keep their types through pgSTAC's dehydration and hydration."""
    with database.loader.connect() as connection:
        connection.execute("SET LOCAL search_path TO pgstac, public")

        @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(st.dictionaries(_TEXTS, _VALUES, max_size=4))
        def comes_back(properties: dict[str, Any]) -> None:
            document = to_store(item(x=properties))
            row = connection.execute(
                "SELECT content_hydrate(content_dehydrate(%s::jsonb))::text",
                [to_jsonb(document, "it")],
            ).fetchone()
            assert row is not None
            found = read_item(row[0], json.dumps(null_paths(document)))
            assert repr(_sorted(found["properties"])) == repr(_sorted(document["properties"]))

        comes_back()


def _sorted(value: Any) -> Any:
    """jsonb keeps neither the order of members nor a negative zero."""
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [_sorted(member) for member in value]
    return 0.0 if isinstance(value, float) and value == 0 else value
