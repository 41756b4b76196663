"""An address that names a version never goes stale; what is unchanged reads the catalog alone."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.testclient import TestClient

from geo_platform.api.auth.authentication import PRINCIPAL
from geo_platform.api.auth.principal import Principal, Scope
from geo_platform.api.problems import answer_with_problems
from geo_platform.api.serving.freshness import Fresh, answer_unchanged, headers_of
from geo_platform.serving.published import PublishedItems
from geo_platform.storage.local.stac_files import StacFiles
from tests.support.publications import COLLECTION, item

HREF = "/items/rasters/dem"


@pytest.fixture
def catalog(tmp_path: Path) -> StacFiles:
    catalog = StacFiles(tmp_path)
    catalog.publish(COLLECTION, item("dem"), replaces=None)
    return catalog


@pytest.fixture
def reads() -> list[str]:
    """The reads of the store."""
    return []


@pytest.fixture
def client(catalog: StacFiles, reads: list[str]) -> Iterator[TestClient]:
    app = FastAPI()
    answer_with_problems(app)
    answer_unchanged(app)
    public = SimpleNamespace(is_public=lambda collection: False)
    app.state.services = SimpleNamespace(published=PublishedItems(catalog), public=public)

    @app.middleware("http")
    async def authenticate(request: Request, go_on):  # type: ignore[no-untyped-def]
        request.scope.setdefault("state", {})[PRINCIPAL] = Principal("key:a", Scope.reader)
        return await go_on(request)

    @app.get("/items/{collection_id}/{item_id}")
    def read(fresh: Fresh) -> Response:
        reads.append(fresh.item.version)
        return Response(fresh.item.version, headers=fresh.headers)

    with TestClient(app) as client:
        yield client


def test_an_address_without_a_version_is_asked_again(client: TestClient, reads: list[str]) -> None:
    first = client.get(HREF)
    assert (first.status_code, first.headers["cache-control"]) == (200, "private, no-cache")
    for known in (first.headers["etag"], f'W/{first.headers["etag"]}, "other"', "*"):
        again = client.get(HREF, headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert again.headers["cache-control"] == "private, no-cache"
    assert len(reads) == 1


def test_an_address_with_a_version_is_kept_for_ever(client: TestClient) -> None:
    version = client.get(HREF).text
    named = client.get(HREF, params={"v": version})
    assert named.headers["cache-control"] == "private, max-age=31536000, immutable"
    # The same answer, so the client may use what it has under the other address.
    assert named.headers["etag"] == client.get(HREF).headers["etag"]


def test_a_replaced_version_is_gone(client: TestClient, catalog: StacFiles) -> None:
    first = client.get(HREF)
    replacement = item("dem")
    replacement["properties"]["geo_platform:run_id"] = "another run"
    replacement["properties"]["geo_platform:fingerprint"] = "e" * 32
    old = item("dem")["properties"]["geo_platform:fingerprint"]
    catalog.publish(COLLECTION, replacement, replaces=old)
    second = client.get(HREF, headers={"If-None-Match": first.headers["etag"]})
    assert second.status_code == 200
    assert second.headers["etag"] != first.headers["etag"]
    # As after the seconds for which a version is remembered.
    client.app.state.services.published = PublishedItems(catalog)  # type: ignore[attr-defined]
    gone = client.get(HREF, params={"v": first.text})
    assert (gone.status_code, gone.json()["code"]) == (410, "VERSION_GONE")
    assert "etag" not in gone.headers


@pytest.mark.parametrize("version", ["", "current", "0" * 15, "G" * 16])
def test_a_version_that_is_none_is_refused(client: TestClient, version: str) -> None:
    refused = client.get(HREF, params={"v": version})
    assert (refused.status_code, refused.json()["code"]) == (422, "PARAMETER_INVALID")


def test_the_tag_tells_requests_apart_but_not_the_order_of_parameters(client: TestClient) -> None:
    def tag(query: str) -> str:
        return str(client.get(f"{HREF}?{query}").headers["etag"])

    assert tag("a=1&b=2") == tag("b=2&a=1") != tag("a=2&b=1")


def test_only_public_data_is_for_shared_caches() -> None:
    request = Request(
        {
            "type": "http",
            "method": "GET",
            "path": "/a",
            "query_string": b"",
            "headers": [],
            "server": ("localhost", 80),
            "scheme": "http",
        }
    )
    headers = headers_of(request, "0" * 16, names_version=True, is_public=True)
    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
