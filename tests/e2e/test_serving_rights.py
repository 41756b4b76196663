"""What a caller may not read leaves no trace in any answer: of all routes, generated requests.

Two deployments differ in one thing: one has a second collection that the caller may not read. Each
request is sent to both, and the answers must be equal: status, headers and body.

GEO_PLATFORM_TESTS_RIGHTS_REQUESTS is the number of requests (`make rights` sends 100,000).
"""

import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from geo_platform.api.app import create_app
from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.principal import Scope
from geo_platform.serving.public import PublicReading
from geo_platform.settings import Profile
from tests.support import servers
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import ProfileUnderTest
from tests.support.reading import write_cog
from tests.support.reading_requests import BASES, Asked, Requests, Values

pytestmark = DAGSTER_S_WARNINGS

REQUESTS = int(os.environ.get("GEO_PLATFORM_TESTS_RIGHTS_REQUESTS", "2000"))
HOST = "http://geo.example.org"
OWN, HIDDEN = "own", "zqx-hidden"
# In everything that the hidden collection has: names, titles, columns, values.
MARK = "zqx"
# They show the own items, and the hidden ones.
TILES = [("0", "0", "0"), ("5", "16", "11"), ("9", "268", "183"), ("12", "2150", "1471")]
TEXTS = ("json", "csv", "xml", "text")
_DIGEST = re.compile('"[0-9a-f]{32}"')
_VARYING = {"date", "x-request-id"}
_VARYING_FIELDS = ("request_id", "timestamp")
_PROFILES = [Profile.embedded, pytest.param(Profile.production, marks=pytest.mark.slow)]


@dataclass
class Deployment:
    """One deployment, as the limited caller and as an unlimited one see it."""

    client: TestClient
    profile: ProfileUnderTest
    home: Path
    limited: str
    unlimited: str

    def answer(self, asked: Asked, key: str) -> httpx.Response:
        headers = {**asked.headers, **({"X-Api-Key": key} if key else {})}
        return self.client.request(asked.method, asked.url, headers=headers, json=asked.body)


@dataclass
class Pair:
    """`alone` has the own collection, `both` also the hidden one. They share keys and own items."""

    alone: Deployment
    both: Deployment

    @property
    def names(self) -> list[str]:
        """The names of each deployment, which its answers may have."""
        names = [str(each.home) for each in (self.alone, self.both)]
        logins = [each.profile.logins for each in (self.alone, self.both)]
        return [*names, *(each.name for each in logins if each is not None)]


def comparable(response: httpx.Response, names: list[str]) -> tuple[int, dict[str, str], bytes]:
    """Return what the caller learns, without what differs between any two deployments."""
    body = response.content
    if response.headers.get("content-type", "").startswith("application/problem+json"):
        problem = {**response.json(), **dict.fromkeys(_VARYING_FIELDS)} if body else {}
        body = json.dumps(problem).encode()
    headers = {name: value for name, value in response.headers.items() if name not in _VARYING}
    # The tag of a document is a digest of its bytes, which name the deployment.
    if _DIGEST.fullmatch(headers.get("etag", "")):
        headers["etag"] = "digest"
    # The names of both deployments are of one length.
    for name in names:
        body = body.replace(name.encode(), b"?" * len(name))
    return response.status_code, headers, body


@pytest.fixture(scope="module")
def pair(
    request: pytest.FixtureRequest,
    module_profile: ProfileUnderTest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("rights")
    profile = module_profile
    _ingest(profile, folder / "one", OWN, *_own_files(folder))
    file = KeyFile(profile.settings(folder / "one").api_keys_file)
    keys = (
        file.create("limited", Scope.reader, collections=(f"{OWN}*",)),
        file.create("all", Scope.reader),
    )
    # Hard links: the files of the store are the same, with the same etags.
    shutil.copytree(folder / "one", folder / "two", copy_function=os.link)
    with _grown(profile, request) as both:
        _ingest(both, folder / "two", HIDDEN, *_hidden_files(folder))
        with (
            _deployed(profile, folder / "one", *keys) as one,
            _deployed(both, folder / "two", *keys) as other,
        ):
            yield Pair(one, other)


def _own_files(folder: Path) -> list[Path]:
    write_cog(folder / "dem.tif", 512, seed=1)
    (folder / "wells.csv").write_text(
        "lat,lon,name,depth\n45.1,9.1,a,3\n45.2,9.2,b,4\n45.3,9.3,c,5\n"
    )
    return [folder / "dem.tif", folder / "wells.csv"]


def _hidden_files(folder: Path) -> list[Path]:
    write_cog(folder / "zqx_dem.tif", 512, seed=2)
    rows = "".join(f"45.{n},9.{n},zqx{n},{n}\n" for n in range(1, 40))
    (folder / "zqx_wells.csv").write_text(f"lat,lon,zqx_name,zqx_depth\n{rows}")
    return [folder / "zqx_dem.tif", folder / "zqx_wells.csv"]


def _ingest(profile: ProfileUnderTest, home: Path, collection: str, *files: Path) -> None:
    ended = geo_platform_here(
        *("ingest", "--collection-id", collection, *files), home=home, extra=profile.environment
    )
    assert ended.exit_code == 0, ended.stdout + ended.stderr


@contextmanager
def _grown(profile: ProfileUnderTest, request: pytest.FixtureRequest) -> Iterator[ProfileUnderTest]:
    """Yield the profile of the deployment that grows: a clone of the database, the same account."""
    if profile.logins is None:
        yield profile
        return
    services = request.getfixturevalue("services")
    with servers.own_database(services, template=profile.logins.name) as logins:
        url = {"GEO_PLATFORM_POSTGRES_URL": logins.loader.url.get_secret_value()}
        yield replace(profile, environment={**profile.environment, **url}, logins=logins)


@contextmanager
def _deployed(
    profile: ProfileUnderTest, home: Path, limited: str, unlimited: str
) -> Iterator[Deployment]:
    many = {"api_reads_per_minute": 10**9, "api_address_reads_per_minute": 10**9}
    app = create_app(profile.settings(home).model_copy(update=many))
    with TestClient(
        app, base_url=HOST, raise_server_exceptions=False, follow_redirects=False
    ) as client:
        yield Deployment(client, profile, home, limited, unlimited)


def _values(pair: Pair) -> Values:
    """Collect what exists, as the unlimited caller of `both` sees it."""

    def get(path: str) -> Any:
        answer = pair.both.answer(Asked("GET", path), pair.both.unlimited)
        return answer.json() if answer.status_code == 200 else {}

    items = [dict(entry.item) for entry in pair.both.profile.catalog(pair.both.home).entries()]
    assert len(items) == 4, items
    features = [each["id"] for each in get("/features/collections").get("collections", [])]
    tokens = [
        token
        for path in ("/stac/search?limit=1", f"/stac/collections/{HIDDEN}/items?limit=1")
        for link in get(path).get("links", [])
        if link["rel"] == "next"
        for token in re.findall(r"token=([^&]+)", link["href"])
    ]
    tags = [
        tag
        for item in items
        for name in item["assets"]
        if (
            tag := pair.both.answer(
                Asked(
                    "HEAD",
                    f"/stac/collections/{item['collection']}/items/{item['id']}/assets/{name}",
                ),
                pair.both.unlimited,
            ).headers.get("etag")
        )
    ]
    versions = sorted({tag.strip('"')[:16] for tag in tags})
    collections = [OWN, HIDDEN, "nowhere", *features]
    ids = [*(item["id"] for item in items), "nothing"]
    numbers = [str(number) for number in (0, 1, 2, 3, 5, 39)]
    return Values(
        known={
            "collection_id": collections,
            "collection": collections,
            "collections": [OWN, HIDDEN, f"{OWN},{HIDDEN}", "nowhere"],
            "item_id": ids,
            "ids": [*ids, ",".join(ids)],
            "feature_id": [*numbers, "x"],
            "name": ["data", "table", "thumbnail", "preview", "nothing"],
            "asset": ["data", "data", "data", "nothing"],
            "v": [*versions, "0123456789abcdef"],
            "token": [*tokens, "x", "next:x"],
            "datetime": [
                "../2020-01-01T00:00:00Z",
                "2000-01-01T00:00:00Z/..",
                "2026-01-01T00:00:00Z",
            ],
            "limit": ["1", "2", "3", "100", "0"],
            "offset": ["0", "1", "2", "50"],
            "sortby": ["datetime", "-id", "+properties.title", "zqx_depth", "depth"],
            "fields": ["id", "id,properties.title", "-assets"],
            "properties": ["name", "depth", "zqx_name", "zqx_depth"],
            "f": ["geojson", "json", "csv", "parquet"],
            "grid": ["WebMercatorQuad", "native", "WorldCRS84Quad"],
            "tileMatrixSetId": ["WebMercatorQuad", "WorldCRS84Quad"],
            "z": ["0", "5", "9", "12"],
            "x": ["0", "16", "268", "2150"],
            "y": ["0", "11", "183", "1470"],
            "pixel_format": ["png", "webp", "jpg", "npy", "tif"],
        },
        places=[
            *({"collection_id": item["collection"], "item_id": item["id"]} for item in items),
            *[{"collection_id": OWN, "item_id": "dem"}] * 4,
            *(
                {"collection_id": item["collection"], "item_id": item["id"], "name": name}
                for item in items
                for name in item["assets"]
            ),
            *({"collection_id": name, "feature_id": "2"} for name in features),
            *(dict(zip("zxy", tile, strict=True)) for tile in TILES),
        ],
        tags=tags,
        filters=[
            "id LIKE '%'",
            f"collection = '{HIDDEN}'",
            f"collection <> '{OWN}'",
            "zqx_depth > 1",
            "depth > 3",
            "title LIKE 'zqx%'",
            "id = 'zqx_dem' OR id = 'dem'",
            "NOT (id = 'dem')",
            "S_INTERSECTS(geometry, POINT(9.1 45.1))",
            json.dumps({"op": "=", "args": [{"property": "collection"}, HIDDEN]}),
            "nonsense (",
        ],
        words=["zqx", "zqx_dem", "dem", "wells", "zqx wells"],
        areas=["9,45,9.15,45.15", "9,44.9,10,46", "-10,-10,0,0"],
    )


def _wait_until_public(deployment: Deployment) -> None:
    """Wait until the server has read the list of public collections again."""
    deadline = time.monotonic() + 30
    while deployment.answer(Asked("GET", "/stac"), "").status_code == 401:
        assert time.monotonic() < deadline, "no collection became public"
        time.sleep(0.2)


@pytest.mark.parametrize("module_profile", _PROFILES, ids=str, indirect=True)
@pytest.mark.parametrize("caller", ["limited", "anonymous"])
def test_no_answer_tells_of_a_collection_that_the_caller_may_not_read(
    pair: Pair, caller: str
) -> None:
    if caller == "anonymous":
        for each in (pair.alone, pair.both):
            PublicReading(each.profile.objects(each.home)).publish(OWN)
            _wait_until_public(each)
    key = pair.alone.limited if caller == "limited" else ""
    document = pair.alone.answer(Asked("GET", "/openapi.json"), pair.alone.unlimited).json()
    requests = Requests(document, _values(pair), seed=20261130 + len(caller))
    assert {path.split("/")[1] for path in requests.paths} == {base[1:] for base in BASES}
    statuses: Counter[tuple[str, int]] = Counter()
    for asked in islice(requests, REQUESTS // 2):
        for _ in range(3):
            one, other = pair.alone.answer(asked, key), pair.both.answer(asked, key)
            # A busy machine may run out of a request's time.
            if 503 not in (one.status_code, other.status_code):
                break
        for learned, expected in zip(
            comparable(other, pair.names), comparable(one, pair.names), strict=True
        ):
            assert learned == expected, str(asked)
        # The bytes of a picture may have the mark by chance.
        is_text = any(kind in other.headers.get("content-type", "") for kind in TEXTS)
        if is_text and MARK not in str(asked):
            assert MARK not in other.text, str(asked)
        assert other.status_code < 500 or other.status_code == 503, (str(asked), other.text)
        statuses[asked.url.split("/")[1], other.status_code] += 1
    # Otherwise the test would compare refusals only.
    assert sum(n for (_, status), n in statuses.items() if status < 400) > REQUESTS // 20, statuses


@pytest.mark.parametrize("module_profile", _PROFILES, ids=str, indirect=True)
def test_head_returns_the_headers_of_get(pair: Pair) -> None:
    document = pair.both.answer(Asked("GET", "/openapi.json"), pair.both.unlimited).json()
    requests = Requests(document, _values(pair), seed=20261201)
    statuses: Counter[tuple[str, int]] = Counter()
    for asked in islice((each for each in requests if each.method == "GET"), 200):
        got = pair.both.answer(asked, pair.both.unlimited)
        head = pair.both.answer(replace(asked, method="HEAD"), pair.both.unlimited)
        assert head.content == b""
        expected, learned = (
            {name: value for name, value in each.headers.items() if name not in _VARYING}
            for each in (got, head)
        )
        assert (head.status_code, learned) == (got.status_code, expected), str(asked)
        statuses[asked.url.split("/")[1], head.status_code] += 1
    for base in BASES:
        assert statuses[base[1:], 200], statuses
