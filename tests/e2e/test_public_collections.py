"""Read without a credential what an operator has marked public, and nothing else."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from geo_platform.api.auth import limits
from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.principal import Scope
from geo_platform.serving import public
from tests.support.authenticated import audit_lines, listen
from tests.support.in_process import geo_platform_here
from tests.support.production import ProfileUnderTest
from tests.support.reading import ReadingApi, reading_api, write_cog

Operate = Callable[..., str]
OPEN = "/stac/collections/open/items/dem/assets/data"
CLOSED = "/stac/collections/closed/items/dem/assets/data"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "dem.tif"
    write_cog(path, 256)
    return path


@pytest.fixture(scope="module")
def api(
    module_profile: ProfileUnderTest, file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReadingApi]:
    patch = pytest.MonkeyPatch()
    patch.setattr(public, "FRESH_S", 0.0)
    patch.setattr(limits, "FAILURES_PER_MINUTE", 1000)
    with reading_api(tmp_path_factory.mktemp("home"), module_profile) as one:
        one.publish_file(file, "dem", "v1", collection="open")
        one.publish_file(file, "dem", "v2", collection="closed")
        yield one
    patch.undo()


@pytest.fixture
def operate(api: ReadingApi, module_profile: ProfileUnderTest) -> Iterator[Operate]:
    """Run `geo-platform collections ...` on the home; afterwards no collection is public."""

    def run(*arguments: str, exit_code: int = 0) -> str:
        ended = geo_platform_here(
            "collections", *arguments, home=api.settings.home_dir, extra=module_profile.environment
        )
        assert ended.exit_code == exit_code, ended.stderr
        return ended.stdout + ended.stderr

    yield run
    for name in json.loads(run("list", "--json")):
        run("unpublish", name)


def status(api: ReadingApi, path: str, method: str = "GET", **rest: object) -> int:
    return api.ask(path, method, key="", **rest).status_code


def test_nothing_is_read_without_a_credential_until_it_is_published(
    api: ReadingApi, operate: Operate, file: Path
) -> None:
    assert status(api, OPEN) == 401
    assert "No collection is public" in operate("list")
    assert "Anybody can read open now" in operate("publish", "open")
    assert operate("list") == "open\n"
    answer = api.ask(OPEN, key="")
    assert (answer.status_code, answer.content) == (200, file.read_bytes())
    assert status(api, OPEN, "HEAD") == 200
    version = answer.headers["etag"][1:17]
    named = api.ask(f"{OPEN}?v={version}", key="")
    assert named.headers["cache-control"] == "public, max-age=31536000, immutable"
    operate("unpublish", "open")
    assert status(api, OPEN) == 401
    named = api.ask(f"{OPEN}?v={version}")
    assert named.headers["cache-control"] == "private, max-age=31536000, immutable"


def test_a_private_collection_looks_like_one_that_does_not_exist(
    api: ReadingApi, operate: Operate
) -> None:
    operate("publish", "open")
    private, none = api.ask(CLOSED, key=""), api.ask(CLOSED.replace("closed", "nowhere"), key="")
    assert private.status_code == none.status_code == 404
    assert private.json()["detail"].replace("closed", "nowhere") == none.json()["detail"]
    assert api.ask(CLOSED).status_code == 200


def test_nothing_else_is_open(api: ReadingApi, operate: Operate) -> None:
    operate("publish", "open")
    for path in (
        *("/api/jobs", "/metrics", "/docs", "/dagster/", "/api/uploads", "/", "/stacked"),
        *("/api/%2e%2e/stac", "//stac", "/STAC", "/dagster/stac/collections"),
    ):
        assert status(api, path) == 401, path
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        for path in (OPEN, "/stac", "/stac/collections", "/features", "/raster/x"):
            assert status(api, path, method) == 401, (method, path)
    assert status(api, "/stac/search/x", "POST", json={}) == 401


def test_the_description_of_the_api_is_open_while_a_collection_is(
    api: ReadingApi, operate: Operate
) -> None:
    operate("publish", "open")
    assert "paths" in api.ask("/openapi.json", key="").json()
    operate("unpublish", "open")
    assert status(api, "/openapi.json") == 401


def test_a_bad_credential_is_refused_and_not_ignored(api: ReadingApi, operate: Operate) -> None:
    operate("publish", "open")
    for headers in (
        {"X-Api-Key": "gp_000000000000_" + "x" * 43},
        {"X-Api-Key": ""},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": ""},
        {"X-Api-Key": api.key, "Authorization": f"Bearer {api.key}"},
    ):
        assert status(api, OPEN, headers=headers) == 401, headers


def test_the_audit_log_names_the_anonymous_reader_and_its_route(
    api: ReadingApi, operate: Operate, caplog: pytest.LogCaptureFixture
) -> None:
    operate("publish", "open")
    listen(caplog)
    api.ask(OPEN, key="")
    line = audit_lines(caplog)[-1]
    assert (line["subject"], line["decision"], line["route"]) == (
        "anonymous",
        "allowed",
        f"GET {OPEN}",
    )
    assert line["address"] == "127.0.0.1"


def test_the_rate_limit_of_an_anonymous_reader_is_that_of_its_address(
    module_profile: ProfileUnderTest, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public, "FRESH_S", 0.0)
    with reading_api(tmp_path, module_profile, api_reads_per_minute=3) as api:
        api.publish_file(file, "dem", "v1", collection="limited")
        api.services.public.publish("limited")
        path = OPEN.replace("/open/", "/limited/")
        assert [status(api, path) for _ in range(5)] == [200, 200, 200, 429, 429]
        api.services.public.unpublish("limited")


def test_a_wrong_name_is_refused_or_pointed_out(api: ReadingApi, operate: Operate) -> None:
    assert "PARAMETER_INVALID" in operate("publish", "op*", exit_code=1)
    assert "is not public" in operate("unpublish", "open", exit_code=1)
    assert "check the name" in operate("publish", "opne")
    assert "was public already" in operate("publish", "opne")


def test_a_key_limited_to_a_collection_reads_that_one_alone(api: ReadingApi) -> None:
    key = KeyFile(api.settings.api_keys_file).create(
        "collection-key", Scope.reader, collections=("op*",)
    )
    assert api.ask(OPEN, key=key).status_code == 200
    assert api.ask(CLOSED, key=key).status_code == 404
    # Dagster's pages show all data.
    assert api.ask("/dagster/", key=key).status_code == 403
