"""Authentication of a served application: who is let in, what others get, and what the audit log
records.
"""

import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from geo_platform.api.app import create_app
from geo_platform.api.auth.guard import OPEN_PATHS, guard
from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.limits import FAILURES_PER_MINUTE
from geo_platform.api.auth.principal import Scope
from geo_platform.errors import ParameterInvalid
from geo_platform.settings import Settings
from tests.support.authenticated import (
    ProtectedApi,
    audit_lines,
    listen,
    make_keys,
    protected_api,
    protected_application,
)
from tests.support.serving import served
from tests.support.tokens import AUDIENCE, issuing


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProtectedApi]:
    with protected_api(tmp_path_factory.mktemp("auth") / "home", api_body_max_bytes=10_000) as one:
        yield one


@pytest.fixture
def api(shared: ProtectedApi) -> ProtectedApi:
    shared.reached.clear()
    return shared


CLOSED = [
    *(
        ("GET", path)
        for path in (
            "/forgotten",
            "/read",
            "/openapi.json",
            "/docs",
            "/",
            "/nowhere",
            "/livez/",
            "/livez/x",
            "/LIVEZ",
            "//livez",
        )
    ),
    *(
        ("GET", path)
        for path in (
            "/dagster",
            "/dagster/",
            "/dagster/graphql",
            "/dagster/server_info",
            "/readyz/../read",
            "/livez%2f..%2fread",
        )
    ),
    *(
        ("POST", path)
        for path in (
            "/submit",
            "/operate",
            "/api/uploads",
            "/dagster/graphql",
            "/dagster/report_asset_materialization/a",
        )
    ),
    *((method, "/read") for method in ("OPTIONS", "HEAD", "PUT", "DELETE", "TRACE", "PATCH")),
]


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_only_health_and_the_sign_in_page_answer_without_a_credential(
    api: ProtectedApi, method: str, path: str
) -> None:
    with closing(
        socket.create_connection(("127.0.0.1", httpx.URL(api.address).port or 0), 10)
    ) as raw:
        raw.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )  # raw: a client would normalise the path
        answer = b"".join(iter(lambda: raw.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 401 ")
    assert 'www-authenticate: bearer realm="geo_platform"\r\n' in answer.lower()
    assert api.reached == []


def test_health_and_the_sign_in_page_answer_everybody(api: ProtectedApi) -> None:
    assert api.ask("GET", "/livez").status_code == 200
    assert api.ask("GET", "/login").status_code == 200
    assert {"/livez", "/readyz", "/login", "/logout"} == OPEN_PATHS


def test_a_socket_is_closed_without_a_credential(api: ProtectedApi) -> None:
    for path in ("/socket", "/dagster/graphql"):
        with pytest.raises(InvalidStatus) as refused:
            connect(f"{api.address.replace('http', 'ws')}{path}", proxy=None)
        assert refused.value.response.status_code == 401
    assert api.reached == []


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("reader", ["/read"]),
        ("submitter", ["/read", "/submit"]),
        ("operator", ["/read", "/submit", "/operate"]),
    ],
)
def test_each_scope_opens_its_own_routes_and_those_of_lower_scopes(
    api: ProtectedApi, key: str, allowed: list[str]
) -> None:
    asked = {"/read": ("GET", None), "/submit": ("POST", {}), "/operate": ("POST", {})}
    answers = {
        path: api.ask(method, path, key, json=body) for path, (method, body) in asked.items()
    }
    assert [path for path, answer in answers.items() if answer.status_code == 200] == allowed
    for answer in (one for one in answers.values() if one.status_code != 200):
        assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


def test_a_key_is_accepted_in_its_header_as_bearer_or_password_and_never_in_the_url(
    api: ProtectedApi,
) -> None:
    key = api.keys["reader"]
    assert (
        api.ask("GET", "/read", headers={"Authorization": f"Bearer {key}"}).json() == "key:reader"
    )
    assert api.ask("GET", "/read", headers={"Authorization": f"bearer {key}"}).status_code == 200
    for user in ("", "anybody", "Jürg"):
        basic = b64encode(f"{user}:{key}".encode()).decode()
        asked = api.ask("GET", "/read", headers={"Authorization": f"Basic {basic}"})
        assert (asked.status_code, asked.json()) == (200, "key:reader")
    for query in (f"api_key={key}", f"X-Api-Key={key}", f"access_token={key}"):
        assert api.ask("GET", f"/read?{query}").status_code == 401
    assert (
        api.ask("GET", "/read", headers={"Cookie": f"__Host-geo_platform={key}"}).status_code == 401
    )


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Api-Key", "{reader}"), ("X-Api-Key", "{operator}")],
        [("X-Api-Key", "{reader}"), ("Authorization", "Bearer {reader}")],
        [("Authorization", "Basic {reader}")],
        [("Authorization", "Basic")],
        [("Authorization", "Basic Z3A6")],  # no password
        [("Authorization", "Basic Z3A=")],  # no colon
        [("Authorization", "Basic /////w==")],  # no UTF-8
        [("Authorization", "{reader}")],
        [("Authorization", "Bearer")],
        [("X-Api-Key", "")],
        [("X-Api-Key", "gp_000000000000_" + "A" * 43)],
        [("Authorization", "Bearer eyJhbGciOiJub25lIn0.e30.")],
        [("X-Forwarded-User", "operator"), ("X-Remote-User", "operator")],
    ],
)
def test_two_missing_and_wrong_credentials_are_refused(
    api: ProtectedApi, headers: list[tuple[str, str]]
) -> None:
    sent = [(name, value.format(**api.keys)) for name, value in headers]
    answer = api.client.get(f"{api.address}/read", headers=sent)
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert answer.json()["code"] == "UNAUTHENTICATED"
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_a_container_or_dataset_outside_the_allow_list_is_forbidden(api: ProtectedApi) -> None:
    assert api.ask("POST", "/submit", "limited", json={}).status_code == 200
    assert api.ask("POST", "/submit", "limited", json={"container": "bronze"}).status_code == 403
    for name in ("roads", "FLOOD_1", "flood_1/../roads", "roads\nflood_1", "xflood_1"):
        asked = api.ask("POST", "/submit", "limited", json={"dataset": name})
        assert asked.status_code == (200 if name.startswith("flood_") else 403)


def test_each_decision_is_logged_as_one_json_line_without_the_credential(
    api: ProtectedApi, caplog: pytest.LogCaptureFixture
) -> None:
    listen(caplog)
    api.ask("GET", "/read?secret=in-the-query", "reader")
    api.ask("POST", "/operate", "reader")
    api.ask("GET", "/read")
    api.ask("GET", "/read", headers={"X-Api-Key": "gp_000000000000_" + "A" * 43})
    api.ask("GET", "/%0a%7b%22subject%22")
    lines = audit_lines(caplog)
    assert [
        (line["subject"], line["route"], line["scope"], line["decision"], line["reason"])
        for line in lines
    ] == [
        ("key:reader", "GET /read", "reader", "allowed", "has scope reader"),
        ("key:reader", "POST /operate", "operator", "refused", "has scope reader"),
        ("", "GET /read", "", "refused", "no credential"),
        ("", "GET /read", "", "refused", "key: unknown id"),
        ("", 'GET /\n{"subject"', "", "refused", "no credential"),
    ]
    assert all("\n" not in record.getMessage() for record in caplog.records)
    assert "gp_" not in caplog.text
    assert "in-the-query" not in caplog.text


def test_an_internal_error_is_returned_without_its_details(api: ProtectedApi) -> None:
    answer = api.ask("GET", "/breaks", "reader")
    assert (answer.status_code, answer.json()["code"]) == (500, "UNEXPECTED_FAULT")
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_response_has_the_security_headers_and_allows_no_other_site(
    api: ProtectedApi,
) -> None:
    origin = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    answers = [
        api.ask("GET", "/livez", headers=origin),
        api.ask("GET", "/read", "reader", headers=origin),
        api.ask("GET", "/read", headers=origin),
        api.ask("GET", "/nowhere", "reader", headers=origin),
        api.ask("OPTIONS", "/submit", headers=origin),
        api.ask("OPTIONS", "/submit", "operator", headers=origin),
    ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "strict-transport-security" not in answer.headers
    behind_tls = api.ask("GET", "/livez", headers={"X-Forwarded-Proto": "https"})
    assert behind_tls.headers["strict-transport-security"] == "max-age=31536000"


def test_a_too_long_body_is_cut_off_whatever_its_content_length(api: ProtectedApi) -> None:
    response = api.ask("POST", "/submit", "submitter", content=b"x" * 10_001)
    assert (response.status_code, response.json()["code"]) == (413, "BODY_TOO_LARGE")

    sent: list[int] = []

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            sent.append(1)
            yield b'{"a": "' + b"x" * 1000

    unsaid = api.ask(
        "POST",
        "/submit",
        "submitter",
        content=endless(),
        headers={"Content-Type": "application/json"},
    )
    assert (unsaid.status_code, unsaid.json()["code"]) == (413, "BODY_TOO_LARGE")
    assert unsaid.headers["x-content-type-options"] == "nosniff"
    assert api.reached == []
    assert api.ask("POST", "/submit", "submitter", json={"x": "x" * 9_000}).status_code == 200


def test_too_many_requests_get_a_retry_after_and_other_callers_are_not_limited(
    tmp_path: Path,
) -> None:
    with protected_api(tmp_path / "home", api_requests_per_minute=5) as api:
        answers = [api.ask("GET", "/read", "reader") for _ in range(7)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 61
        assert answers[-1].json()["retryable"] is True
        assert api.ask("GET", "/read", "submitter").status_code == 200


def test_a_map_is_drawn_within_the_limit_of_reads_and_leaves_other_requests_theirs(
    tmp_path: Path,
) -> None:
    limits = {"api_requests_per_minute": 2, "api_reads_per_minute": 6}
    with protected_api(tmp_path / "home", **limits) as api:

        def status(method: str, path: str) -> int:
            return api.ask(method, path, "reader").status_code

        # The application has none of these paths: it answers what the guard lets pass with 404.
        tiles = [status("GET", f"/raster/{n}") for n in range(3)]
        assert tiles == [404] * 3
        assert [status("POST", "/stac/search"), status("HEAD", "/features/a")] == [404] * 2
        assert [status("GET", "/read") for _ in range(3)] == [200, 200, 429]
        # Neither a path that begins alike nor a change is a read.
        others = [("GET", "/rasters"), ("POST", "/raster/1"), ("DELETE", "/stac/x")]
        assert [status(*other) for other in others] == [429] * 3
        assert [status("GET", "/stac") for _ in range(2)] == [404, 429]
    with protected_api(tmp_path / "other", api_address_reads_per_minute=2) as api:
        answers = [api.ask("GET", "/features", key) for key in ("reader", "submitter", "reader")]
        assert [answer.status_code for answer in answers] == [404, 404, 429]
        assert "from this address" in answers[-1].text
        assert api.ask("GET", "/read", "reader").status_code == 200


def test_the_default_limits_let_one_client_draw_a_map() -> None:
    """A map of two layers that is moved every two seconds fetches 100 tiles of each."""
    moves, layers, tiles = 30, 2, 100
    settings = Settings()
    assert settings.api_reads_per_minute >= moves * layers * tiles
    assert settings.api_address_reads_per_minute > settings.api_reads_per_minute


def test_too_many_requests_from_an_address_are_refused_even_for_health(tmp_path: Path) -> None:
    with protected_api(tmp_path / "home", api_address_requests_per_minute=3) as api:
        assert [api.ask("GET", "/livez").status_code for _ in range(4)] == [200, 200, 200, 429]


def test_after_too_many_wrong_keys_even_a_valid_one_is_refused(tmp_path: Path) -> None:
    with protected_api(tmp_path / "home") as api:
        wrong = [
            api.ask("GET", "/read", headers={"X-Api-Key": f"gp_{number:012x}_{'A' * 43}"})
            for number in range(FAILURES_PER_MINUTE + 1)
        ]
        assert [answer.status_code for answer in wrong] == [401] * FAILURES_PER_MINUTE + [429]
        assert api.ask("GET", "/read", "reader").status_code == 429


def test_tokens_work_with_keys_and_an_unavailable_issuer_affects_only_tokens(
    tmp_path: Path,
) -> None:
    with (
        issuing() as issuer,
        protected_api(
            tmp_path / "home", api_oidc_issuer=issuer.address, api_oidc_audience=AUDIENCE
        ) as api,
    ):
        issuer.is_down = True
        bearer = {"Authorization": f"Bearer {issuer.token(scp='submitter')}"}
        down = api.ask("GET", "/read", headers=bearer)
        assert (down.status_code, down.json()["code"]) == (503, "STORE_UNAVAILABLE")
        assert api.ask("GET", "/read", "reader").status_code == 200
    with (
        issuing() as issuer,
        protected_api(
            tmp_path / "other", api_oidc_issuer=issuer.address, api_oidc_audience=AUDIENCE
        ) as api,
    ):
        for scope, status in (("submitter", 200), ("reader", 403), (None, 403)):
            answer = api.ask(
                "POST",
                "/submit",
                headers={"Authorization": f"Bearer {issuer.token(scp=scope)}"},
                json={},
            )
            assert answer.status_code == status
        assert (
            api.ask(
                "GET", "/read", headers={"Authorization": f"Bearer {issuer.token(exp=1)}"}
            ).status_code
            == 401
        )


def test_without_configured_credentials_nothing_is_served_and_the_remedy_is_named(
    tmp_path: Path,
) -> None:
    settings = Settings(home=tmp_path)
    with pytest.raises(ParameterInvalid, match="never served without one") as refused:
        guard(FastAPI(), settings)
    assert "geo-platform keys create" in refused.value.remedy


def test_an_expired_key_does_not_count_as_a_configured_credential(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    KeyFile(settings.api_keys_file).create("a", Scope.operator, expires_in=timedelta(seconds=-1))
    with pytest.raises(ParameterInvalid):
        guard(FastAPI(), settings)


def test_a_route_without_authentication_answers_nobody(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    keys = make_keys(settings)
    app = protected_application(settings, [])
    app.user_middleware.clear()
    with served(app) as address:
        assert (
            httpx.get(f"{address}/read", headers={"X-Api-Key": keys["operator"]}).status_code == 401
        )
        assert (
            httpx.get(f"{address}/dagster/", headers={"X-Api-Key": keys["operator"]}).status_code
            == 401
        )


def test_all_routes_of_the_application_except_health_and_sign_in_need_a_credential(
    tmp_path: Path,
) -> None:
    settings = Settings(home=tmp_path / "home", dagster_url="http://127.0.0.1:9")
    make_keys(settings)
    app = create_app(settings)
    described = app.openapi()["paths"]
    asked = [
        (method.upper(), path.replace("{", "").replace("}", ""))
        for path, methods in described.items()
        for method in methods
    ]
    assert len(asked) > 10
    with served(app) as address:
        answers = {
            (method, path): httpx.request(method, f"{address}{path}").status_code
            for method, path in asked
        }
    assert {where for where, status in answers.items() if status != 401} == {
        ("GET", "/livez"),
        ("GET", "/readyz"),
    }
    assert all(
        methods[method].get("security")
        for path, methods in described.items()
        for method in methods
        if path not in OPEN_PATHS
    )
