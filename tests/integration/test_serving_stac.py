"""Search published items through the HTTP API, on both profiles, with the field's own client."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from pystac_client import Client

from geo_platform.api.app import create_app
from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.principal import Scope
from geo_platform.catalog.validate import collection_faults, item_faults
from geo_platform.ports import Catalog
from tests.support.production import ProfileUnderTest
from tests.support.publications import COLLECTION, item
from tests.support.serving import served

LIMITS = {
    f"api_{name}_per_minute": 100_000
    for name in ("requests", "address_requests", "reads", "address_reads")
}


@dataclass
class Stac:
    """The served API. `keys`: reader (sees all), limited (one container), other (one dataset)."""

    address: str
    keys: Mapping[str, str]
    client: httpx.Client
    catalog: Catalog

    def get(self, path: str = "", key: str = "reader", **parameters: Any) -> httpx.Response:
        return self.client.get(
            f"{self.address}/stac{path}", params=parameters, headers={"X-Api-Key": self.keys[key]}
        )

    def post(self, body: Any, key: str = "reader") -> httpx.Response:
        return self.client.post(
            f"{self.address}/stac/search", json=body, headers={"X-Api-Key": self.keys[key]}
        )

    def found(self, key: str = "reader", **body: Any) -> list[str]:
        """Return the ids that a search finds, on its first page."""
        response = self.post(body, key)
        assert response.status_code == 200, response.text
        return [feature["id"] for feature in response.json()["features"]]


def published_items() -> list[dict[str, Any]]:
    container = "geo_platform:source_container"
    items = [
        item(
            f"scene-{number:02}",
            bbox=(number, 40, number + 1, 41),
            datetime=f"2021-06-{number + 1:02}T10:15:00Z",
            title=f"Scene {number} of Lisbon",
            gsd=10 * (number % 3 + 1),
            **{container: "bronze" if number % 2 else "secret", "geo_platform:kind": "raster"},
        )
        for number in range(12)
    ]
    roads = item(
        "roads",
        collection="vectors",
        bbox=(170, -20, -170, -10),
        datetime="2019-01-01T00:00:00Z",
        **{container: "secret", "geo_platform:dataset": "roads_v1", "secret:owner": "army"},
    )
    roads["geometry"] = {
        "type": "MultiPolygon",
        "coordinates": [
            [[[170, -20], [180, -20], [180, -10], [170, -10], [170, -20]]],
            [[[-180, -20], [-170, -20], [-170, -10], [-180, -10], [-180, -20]]],
        ],
    }
    return [*items, roads]


@pytest.fixture(scope="module")
def stac(
    module_profile: ProfileUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stac]:
    home = tmp_path_factory.mktemp("stac")
    settings = module_profile.settings(home).model_copy(update=LIMITS)
    catalog = module_profile.catalog(home)
    for document in published_items():
        document["assets"]["data"] |= {
            "geo_platform:container": "silver",
            "geo_platform:key": "cogs/it.tif",
        }
        catalog.publish({**COLLECTION, "id": document["collection"]}, document, replaces=None)
    file = KeyFile(settings.api_keys_file)
    keys = {
        "reader": file.create("reader", Scope.reader),
        "limited": file.create("limited", Scope.reader, containers=("bron[a-z]e",)),
        "nothing": file.create("nothing", Scope.reader, datasets=("no_such_*",)),
    }
    with (
        served(create_app(settings)) as address,
        httpx.Client(timeout=60, trust_env=False) as client,
    ):
        yield Stac(address, keys, client, catalog)


def scenes(*numbers: int) -> list[str]:
    return [f"scene-{number:02}" for number in numbers]


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        ({"limit": 3}, scenes(11, 10, 9)),
        ({"ids": ["roads", "scene-03", "none"]}, ["scene-03", "roads"]),
        ({"collections": ["vectors"]}, ["roads"]),
        ({"collections": ["none"]}, []),
        ({"bbox": [3.5, 40.5, 4.5, 40.6]}, []),
        ({"bbox": [3.5, 40, 4.5, 41]}, scenes(4, 3)),
        ({"bbox": [175, -15, -175, -12]}, ["roads"]),
        ({"bbox": [-175, -15, 175, -12]}, ["roads"]),
        ({"bbox": [0, -90, -100, 4, 90, 100], "limit": 2}, scenes(4, 3)),
        ({"datetime": "2021-06-03T10:15:00Z"}, scenes(2)),
        ({"datetime": "2021-06-03T10:15:00Z/2021-06-04T12:00:00Z"}, scenes(3, 2)),
        ({"datetime": "../2020-01-01T00:00:00Z"}, ["roads"]),
        ({"query": {"gsd": {"gte": 30}, "id": {"neq": "scene-02"}}}, scenes(11, 8, 5)),
        ({"query": {"title": {"startsWith": "Scene 1"}}}, scenes(11, 10, 1)),
        ({"filter": "gsd = 30 AND datetime < TIMESTAMP('2021-06-05T00:00:00Z')"}, scenes(2)),
        ({"filter": '"geo_platform:kind" IS NULL'}, ["roads"]),
        ({"filter": "NOT (gsd < 30)"}, scenes(11, 8, 5, 2)),
        (
            {"filter": "missing_in_most = 1 OR id = 'roads'".replace("missing_in_most", "gsd")},
            ["roads"],
        ),
        ({"filter": "id LIKE 'scene-0_' AND gsd BETWEEN 15 AND 25"}, scenes(7, 4, 1)),
        ({"filter": "id IN ('roads','scene-01')"}, ["scene-01", "roads"]),
        ({"filter": "CASEI(title) LIKE CASEI('%LISBON') AND gsd = 30"}, scenes(11, 8, 5, 2)),
        ({"filter": "S_INTERSECTS(geometry, BBOX(3.5,40,4.5,41))"}, scenes(4, 3)),
        ({"filter": "T_AFTER(datetime, TIMESTAMP('2021-06-10T12:00:00Z'))"}, scenes(11, 10)),
        (
            {"filter": {"op": "=", "args": [{"property": "gsd"}, 30]}, "filter-lang": "cql2-json"},
            scenes(11, 8, 5, 2),
        ),
        ({"q": ["roads", "scene 4"]}, scenes(4)),
        ({"q": ["lisbo"]}, []),
        (
            {"sortby": [{"field": "properties.gsd", "direction": "asc"}], "limit": 4},
            scenes(0, 3, 6, 9),
        ),
        ({"sortby": [{"field": "gsd", "direction": "desc"}], "limit": 2}, scenes(11, 8)),
        ({"sortby": [{"field": "id", "direction": "asc"}], "limit": 2}, ["roads", "scene-00"]),
    ],
    ids=str,
)
def test_an_item_is_found_by_what_it_is(body: dict[str, Any], ids: list[str], stac: Stac) -> None:
    assert stac.found(**{"limit": 100, **body}) == ids


@pytest.mark.parametrize(
    "sortby", [None, "-gsd,id", "+gsd", "-title", "id", "-collection,+datetime"]
)
def test_the_pages_of_a_search_hold_every_item_once(sortby: str | None, stac: Stac) -> None:
    """Ties, items without the value, and both ways of asking."""
    given = {} if sortby is None else {"sortby": sortby}
    page = stac.get("/search", limit=5, **given).json()
    seen, totals = [], set()
    while True:
        seen += [feature["id"] for feature in page["features"]]
        totals.add(page["numberMatched"])
        links = [link["href"] for link in page["links"] if link["rel"] == "next"]
        if not links:
            break
        assert len(page["features"]) == 5
        page = stac.client.get(links[0], headers={"X-Api-Key": stac.keys["reader"]}).json()
    everything = stac.get("/search", limit=100, **given).json()["features"]
    assert seen == [feature["id"] for feature in everything]
    assert sorted(seen) == sorted(["roads", *scenes(*range(12))])
    assert totals == {13}


def test_an_item_that_vanishes_between_two_pages_makes_none_be_skipped(stac: Stac) -> None:
    """Also if the token was made of this very item."""
    names = [f"page-{number}" for number in range(6)]
    for number, name in enumerate(names):
        document = item(name, collection="pages", datetime=f"2022-01-0{number + 1}T00:00:00Z")
        stac.catalog.publish({**COLLECTION, "id": "pages"}, document, replaces=None)
    body: dict[str, Any] = {"collections": ["pages"], "limit": 3}
    first = stac.post(body).json()
    assert [each["id"] for each in first["features"]] == ["page-5", "page-4", "page-3"]
    (following,) = [link for link in first["links"] if link["rel"] == "next"]
    stac.catalog.unpublish("pages", "page-3", published="v1")
    newest = item("page-9", collection="pages", datetime="2022-02-01T00:00:00Z")
    stac.catalog.publish({**COLLECTION, "id": "pages"}, newest, replaces=None)
    second = stac.post(following["body"]).json()
    assert [each["id"] for each in second["features"]] == ["page-2", "page-1", "page-0"]
    assert [link["rel"] for link in second["links"]] == ["root"]
    for name in (*names[:3], *names[4:], "page-9"):
        stac.catalog.unpublish("pages", name, published="v1")
    assert stac.get("/collections/pages").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        *("", "/conformance", "/collections", "/queryables", "/search?limit=2"),
        *("/collections/rasters", "/collections/rasters/items", "/collections/vectors/items/roads"),
    ],
)
def test_a_document_that_the_client_has_is_not_sent_again(path: str, stac: Stac) -> None:
    url = f"{stac.address}/stac{path}"
    key = {"X-Api-Key": stac.keys["reader"]}
    first = stac.client.get(url, headers=key)
    assert first.headers["Cache-Control"] == "private, no-cache"
    again = stac.client.get(url, headers={**key, "If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    head = stac.client.head(url, headers=key)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("ETag", "Content-Length", "Content-Type"):
        assert head.headers[name] == first.headers[name]


def test_a_document_that_has_changed_is_sent(stac: Stac) -> None:
    url = f"{stac.address}/stac/collections/changing"
    key = {"X-Api-Key": stac.keys["reader"]}
    collection = {**COLLECTION, "id": "changing"}
    stac.catalog.publish(collection, item("one", collection="changing"), replaces=None)
    first = stac.client.get(url, headers=key)
    later = item("two", collection="changing", datetime="2024-01-01T00:00:00Z")
    stac.catalog.publish(collection, later, replaces=None)
    again = stac.client.get(url, headers={**key, "If-None-Match": first.headers["ETag"]})
    assert again.status_code == 200
    assert again.json()["extent"] != first.json()["extent"]
    for name in ("one", "two"):
        stac.catalog.unpublish("changing", name, published="v1")


def test_the_links_and_assets_of_an_item_lead_to_this_api(stac: Stac) -> None:
    response = stac.get("/collections/rasters/items/scene-03")
    assert response.headers["content-type"] == "application/geo+json"
    document = response.json()
    root = f"{stac.address}/stac"
    own = f"{root}/collections/rasters/items/scene-03"
    hrefs = {link["rel"]: link["href"] for link in document["links"]}
    assert hrefs == {
        "self": own,
        "root": root,
        "parent": f"{root}/collections/rasters",
        "collection": f"{root}/collections/rasters",
        "tilejson": hrefs["tilejson"],
        "via": "https://store.example/bronze/scene-03.tif",
    }
    tiles = f"{stac.address}/raster/collections/rasters/items/scene-03/tilejson.json?v="
    assert hrefs["tilejson"].startswith(tiles)
    asset = document["assets"]["data"]
    assert asset["href"].startswith(f"{own}/assets/data?v=")
    assert asset["alternate"]["store"]["href"] == "https://store.example/silver/v1/scene-03.tif"
    assert stac.post({"ids": ["scene-03"]}).json()["features"] == [document]
    # No package carries the schema of this extension.
    known = [uri for uri in document["stac_extensions"] if "alternate-assets" not in uri]
    assert item_faults({**document, "stac_extensions": known}) == ()
    assert collection_faults(stac.get("/collections/rasters").json()) == ()
    of_collection = stac.get("/collections/rasters/items", limit=1, sortby="id").json()
    assert [each["id"] for each in of_collection["features"]] == ["scene-00"]
    assert of_collection["numberMatched"] == 12


def test_only_the_chosen_fields_are_returned(stac: Stac) -> None:
    fields = {"include": ["properties.gsd", "bbox"], "exclude": ["links"]}
    (document,) = stac.post({"ids": ["scene-03"], "fields": fields}).json()["features"]
    assert document == {
        "type": "Feature",
        "id": "scene-03",
        "collection": "rasters",
        "bbox": [3, 40, 4, 41],
        "properties": {"gsd": 10},
    }
    (document,) = stac.get("/search", ids="roads", fields="-assets,-properties.datetime").json()[
        "features"
    ]
    assert "assets" not in document
    assert "datetime" not in document["properties"]
    assert document["properties"]["secret:owner"] == "army"
    (document,) = stac.get("/search", ids="roads", fields="-properties,properties.datetime").json()[
        "features"
    ]
    assert document["properties"] == {"datetime": "2019-01-01T00:00:00Z"}
    for chosen in ({}, {"include": [], "exclude": []}, {"include": None, "exclude": ["bbox"]}):
        (document,) = stac.post({"ids": "roads", "fields": chosen}).json()["features"]
        assert set(document["properties"]) == {"datetime", "updated"}
        assert ("bbox" in document) is not bool(chosen.get("exclude"))


def test_nothing_tells_of_what_a_caller_may_not_see(stac: Stac) -> None:
    """`limited` reads the container bronze: the scenes with odd numbers."""
    odd = scenes(*range(11, 0, -2))
    found = stac.post({"limit": 100}, "limited").json()
    assert [each["id"] for each in found["features"]] == odd
    assert (found["numberMatched"], found["numberReturned"]) == (6, 6)
    assert stac.found("limited", ids=["scene-02", "roads", "scene-03"]) == ["scene-03"]
    assert stac.get("/collections/rasters/items/scene-02", "limited").status_code == 404
    hidden = stac.get("/collections/rasters/items/scene-02", "limited").json()["detail"]
    absent = stac.get("/collections/rasters/items/scene-99", "limited").json()["detail"]
    assert hidden.replace("02", "99") == absent

    collections = stac.get("/collections", "limited").json()
    assert [each["id"] for each in collections["collections"]] == ["rasters"]
    assert (collections["numberMatched"], collections["numberReturned"]) == (1, 1)
    extent = stac.get("/collections/rasters", "limited").json()["extent"]
    assert extent == {
        "spatial": {"bbox": [[1, 40, 12, 41]]},
        "temporal": {"interval": [["2021-06-02T10:15:00Z", "2021-06-12T10:15:00Z"]]},
    }
    whole = stac.get("/collections/rasters").json()["extent"]
    assert whole["spatial"]["bbox"] == [[0, 40, 12, 41]]
    assert stac.get("/collections/vectors").json()["extent"]["spatial"]["bbox"] == [
        [170, -20, -170, -10]
    ]
    for path in ("", "/items", "/queryables", "/sortables"):
        assert stac.get(f"/collections/vectors{path}", "limited").status_code == 404, path
    landing = stac.get("", "limited").json()
    assert [link["title"] for link in landing["links"] if link["rel"] == "child"] == ["Rasters"]

    assert "secret:owner" in stac.get("/queryables").json()["properties"]
    assert "secret:owner" not in stac.get("/queryables", "limited").json()["properties"]
    refused = stac.post({"filter": "\"secret:owner\" = 'army'"}, "limited")
    never = stac.post({"filter": "\"never:known\" = 'army'"}, "limited")
    assert refused.status_code == never.status_code == 400
    assert refused.json()["detail"].replace("secret:owner", "never:known") == never.json()["detail"]

    assert stac.get("/collections", "nothing").json()["collections"] == []
    assert stac.post({}, "nothing").json()["numberMatched"] == 0
    assert set(stac.get("/queryables", "nothing").json()["properties"]) == {
        "id",
        "collection",
        "geometry",
        "datetime",
    }


def test_the_error_of_a_filter_does_not_tell_of_a_hidden_value(stac: Stac) -> None:
    """`roads` has a text where a number is compared; only who sees it may be told."""
    for number, name in enumerate(["seen", "unseen"]):
        document = item(
            name,
            collection="mixed",
            level=number if name == "seen" else "classified",
            **{"geo_platform:source_container": "bronze" if name == "seen" else "secret"},
        )
        stac.catalog.publish({**COLLECTION, "id": "mixed"}, document, replaces=None)
    body = {"filter": "level < 5", "collections": ["mixed"]}
    assert stac.found("limited", **body) == ["seen"]
    told = stac.post(body)
    assert told.status_code in (200, 400)
    assert "classified" not in told.text
    for name in ("seen", "unseen"):
        stac.catalog.unpublish("mixed", name, published="v1")


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/search", {"limit": "0"}),
        ("/search", {"limit": "-1"}),
        ("/search", {"limit": "many"}),
        ("/search", {"bbox": "1,2,3"}),
        ("/search", {"bbox": "1,2,x,4"}),
        ("/search", {"bbox": "1,2,nan,4"}),
        ("/search", {"bbox": "0,5,1,2"}),
        ("/search", {"bbox": "0,0,1,1", "intersects": '{"type":"Point","coordinates":[0,0]}'}),
        ("/search", {"bbox": "-500,0,1,1"}),
        ("/search", {"intersects": "{}"}),
        ("/search", {"intersects": '{"type":"Point","coordinates":["a",0]}'}),
        ("/search", {"intersects": '{"type":"Polygon","coordinates":[]}'}),
        ("/search", {"intersects": "[1"}),
        ("/search", {"datetime": "yesterday"}),
        ("/search", {"datetime": "2021-13-01T00:00:00Z"}),
        ("/search", {"datetime": "2022-01-01T00:00:00Z/2021-01-01T00:00:00Z"}),
        ("/search", {"datetime": "../.."}),
        ("/search", {"datetime": "0001-01-01T00:00:00+23:00"}),
        ("/search", {"token": "nonsense"}),
        ("/search", {"token": "bmV4dA"}),
        ("/search", {"filter": "gsd ="}),
        ("/search", {"filter": "no_such_property = 1"}),
        ("/search", {"filter": "gsd = title"}),
        ("/search", {"filter": "gsd + 1 = 2"}),
        ("/search", {"filter": "drop(gsd) = 2"}),
        ("/search", {"filter": "S_INTERSECTS(geometry, BBOX(1,2,3,400))"}),
        ("/search", {"filter": "T_AFTER(gsd, 5)"}),
        ("/search", {"filter": "(" * 3000 + "gsd = 1" + ")" * 3000}),
        ("/search", {"filter": "NOT " * 2000 + "gsd = 1"}),
        ("/search", {"filter": '{"op":' * 1500 + "1" + "}" * 1500, "filter-lang": "cql2-json"}),
        ("/search", {"filter": '{"op": "="}', "filter-lang": "cql2-json"}),
        ("/search", {"filter": "gsd = 1", "filter-lang": "cql-text"}),
        ("/search", {"filter": "gsd = 1", "filter-crs": "EPSG:3857"}),
        ("/search", {"query": "5"}),
        ("/search", {"query": '{"gsd": {"near": 5}}'}),
        ("/search", {"query": '{"gsd": 5}'}),
        ("/search", {"sortby": "no_such_property"}),
        ("/search", {"sortby": "geometry"}),
        ("/search", {"q": "--"}),
        ("/search", {"colections": "rasters"}),
        ("/collections", {"limit": "0"}),
        ("/collections", {"bbox": "1"}),
        ("/collections", {"filter": "nothing = 1"}),
        ("/collections/rasters/items", {"limit": "x"}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_invalid_parameter_is_refused_with_a_code(
    path: str, parameters: dict[str, str], stac: Stac
) -> None:
    response = stac.get(path, **parameters)
    assert response.status_code == 400, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "PARAMETER_INVALID"
    assert response.json()["remedy"]


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"limit": 0},
        {"limit": "x"},
        {"bbox": [0, 0, 1]},
        {"bbox": ["a", 0, 1, 1]},
        {"intersects": {"type": "Point"}},
        {"filter": []},
        {"filter": {"op": "and", "args": []}},
        {"filter": {"op": "=", "args": [{"property": ""}, 1]}},
        {"filter": {"op": "in", "args": [{"property": "gsd"}, []]}},
        {"filter": {"op": "like", "args": [{"property": "title"}, 5]}},
        {"filter": {"op": "t_after", "args": [{"property": "datetime"}, {"timestamp": "x"}]}},
        {"filter": "gsd = 1", "filter-lang": "cql2-json"},
        {"sortby": [{"field": "gsd", "direction": "up"}]},
        {"sortby": [{"field": ""}]},
        {"fields": {"includes": []}},
        {"unknown": 1},
        {"ids": 5},
        {"fields": None},
        {"q": "roads"},
        {"filter": {"op": "=", "args": [{"property": "id"}, "\0"]}},
    ],
    ids=lambda value: str(value)[:60],
)
def test_an_invalid_body_is_refused_with_a_code(body: Any, stac: Stac) -> None:
    response = stac.post(body)
    assert response.status_code == 400, response.text
    assert response.json()["code"] == "PARAMETER_INVALID"


def test_parameters_beside_a_body_are_refused(stac: Stac) -> None:
    headers = {"X-Api-Key": stac.keys["reader"]}
    address = f"{stac.address}/stac/search?collections=vectors"
    refused = stac.client.post(address, json={}, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (400, "PARAMETER_INVALID")
    assert "body" in refused.json()["remedy"]


def test_a_token_belongs_to_its_search(stac: Stac) -> None:
    first = stac.get("/search", limit=2).json()
    (href,) = [link["href"] for link in first["links"] if link["rel"] == "next"]
    token = httpx.URL(href).params["token"]
    assert stac.get("/search", limit=7, token=token).status_code == 200
    other = stac.get("/search", limit=2, token=token, sortby="id")
    assert (other.status_code, other.json()["code"]) == (400, "PARAMETER_INVALID")


def test_collections_are_found_by_extent_words_and_filter(stac: Stac) -> None:
    def found(**parameters: Any) -> list[str]:
        response = stac.get("/collections", **parameters)
        assert response.status_code == 200, response.text
        return [each["id"] for each in response.json()["collections"]]

    assert found() == ["rasters", "vectors"]
    assert found(bbox="175,-15,178,-14") == ["vectors"]
    assert found(datetime="2021-01-01T00:00:00Z/..") == ["rasters"]
    assert found(q="rasters") == ["rasters", "vectors"]  # both have this description
    assert found(filter="id = 'vectors'") == ["vectors"]
    assert found(sortby="-id") == ["vectors", "rasters"]
    first = stac.get("/collections", limit=1).json()
    assert (first["numberMatched"], first["numberReturned"]) == (2, 1)
    (href,) = [link["href"] for link in first["links"] if link["rel"] == "next"]
    second = stac.client.get(href, headers={"X-Api-Key": stac.keys["reader"]}).json()
    assert [each["id"] for each in second["collections"]] == ["vectors"]
    assert "next" not in [link["rel"] for link in second["links"]]


def test_pystac_client_pages_and_searches_all_items(stac: Stac) -> None:
    client = Client.open(f"{stac.address}/stac", headers={"X-Api-Key": stac.keys["reader"]})
    assert client.get_self_href() == f"{stac.address}/stac"
    assert sorted(each.id for each in client.get_collections()) == ["rasters", "vectors"]
    everything = sorted(["roads", *scenes(*range(12))])
    for method in ("GET", "POST"):
        search = client.search(limit=4, method=method)
        assert search.matched() == 13
        assert sorted(each.id for each in search.items()) == everything
    assert [each.id for each in client.search(filter="gsd = 30", sortby="id").items()] == scenes(
        2, 5, 8, 11
    )
    by_json = client.search(
        filter={"op": "=", "args": [{"property": "gsd"}, 30]}, filter_lang="cql2-json"
    )
    assert sorted(each.id for each in by_json.items()) == scenes(2, 5, 8, 11)
    area = {"type": "Point", "coordinates": [3.5, 40.5]}
    assert [each.id for each in client.search(intersects=area).items()] == []
    collection = client.get_collection("rasters")
    assert sorted(each.id for each in collection.get_items()) == scenes(*range(12))
    one = collection.get_item("scene-03")
    assert one is not None
    assert one.get_collection().id == "rasters"
    assert "gsd" in client.get_merged_queryables(["rasters"])["properties"]
