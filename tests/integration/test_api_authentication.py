"""The lock before a served application: who gets past it, what the others are told, and what the audit log has of both."""

import socket
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
    with protected_api(tmp_path_factory.mktemp("lock") / "home", api_body_max_bytes=10_000) as one:
        yield one


@pytest.fixture
def door(shared: ProtectedApi) -> ProtectedApi:
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
def test_nothing_but_health_and_the_page_to_sign_in_answers_without_a_credential(
    door: ProtectedApi, method: str, path: str
) -> None:
    with closing(
        socket.create_connection(("127.0.0.1", httpx.URL(door.address).port or 0), 10)
    ) as raw:
        raw.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )  # as it is: a client would tidy the path
        answer = b"".join(iter(lambda: raw.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 401 ")
    assert 'www-authenticate: bearer realm="geo_platform"\r\n' in answer.lower()
    assert door.reached == []


def test_health_and_the_page_to_sign_in_answer_everybody(door: ProtectedApi) -> None:
    assert door.ask("GET", "/livez").status_code == 200
    assert door.ask("GET", "/login").status_code == 200
    assert {"/livez", "/readyz", "/login", "/logout"} == OPEN_PATHS


def test_a_socket_is_closed_without_a_credential(door: ProtectedApi) -> None:
    for path in ("/socket", "/dagster/graphql"):
        with pytest.raises(InvalidStatus) as refused:
            connect(f"{door.address.replace('http', 'ws')}{path}", proxy=None)
        assert refused.value.response.status_code == 401
    assert door.reached == []


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("reader", ["/read"]),
        ("submitter", ["/read", "/submit"]),
        ("operator", ["/read", "/submit", "/operate"]),
    ],
)
def test_each_scope_opens_its_own_routes_and_those_before_them(
    door: ProtectedApi, key: str, allowed: list[str]
) -> None:
    asked = {"/read": ("GET", None), "/submit": ("POST", {}), "/operate": ("POST", {})}
    answers = {
        path: door.ask(method, path, key, json=body) for path, (method, body) in asked.items()
    }
    assert [path for path, answer in answers.items() if answer.status_code == 200] == allowed
    for answer in (one for one in answers.values() if one.status_code != 200):
        assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


def test_a_key_is_taken_as_a_header_of_its_own_or_as_a_bearer_and_never_from_the_address(
    door: ProtectedApi,
) -> None:
    key = door.keys["reader"]
    assert (
        door.ask("GET", "/read", headers={"Authorization": f"Bearer {key}"}).json() == "key:reader"
    )
    assert door.ask("GET", "/read", headers={"Authorization": f"bearer {key}"}).status_code == 200
    for query in (f"api_key={key}", f"X-Api-Key={key}", f"access_token={key}"):
        assert door.ask("GET", f"/read?{query}").status_code == 401
    assert (
        door.ask("GET", "/read", headers={"Cookie": f"__Host-geo_platform={key}"}).status_code
        == 401
    )


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Api-Key", "{reader}"), ("X-Api-Key", "{operator}")],
        [("X-Api-Key", "{reader}"), ("Authorization", "Bearer {reader}")],
        [("Authorization", "Basic {reader}")],
        [("Authorization", "{reader}")],
        [("Authorization", "Bearer")],
        [("X-Api-Key", "")],
        [("X-Api-Key", "gp_000000000000_" + "A" * 43)],
        [("Authorization", "Bearer eyJhbGciOiJub25lIn0.e30.")],
        [("X-Forwarded-User", "operator"), ("X-Remote-User", "operator")],
    ],
)
def test_two_credentials_none_and_wrong_ones_are_refused(
    door: ProtectedApi, headers: list[tuple[str, str]]
) -> None:
    sent = [(name, value.format(**door.keys)) for name, value in headers]
    answer = door.client.get(f"{door.address}/read", headers=sent)
    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert answer.json()["code"] == "UNAUTHENTICATED"
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_a_container_or_dataset_outside_the_allow_list_is_forbidden(door: ProtectedApi) -> None:
    assert door.ask("POST", "/submit", "limited", json={}).status_code == 200
    assert door.ask("POST", "/submit", "limited", json={"container": "bronze"}).status_code == 403
    for name in ("roads", "FLOOD_1", "flood_1/../roads", "roads\nflood_1", "xflood_1"):
        asked = door.ask("POST", "/submit", "limited", json={"dataset": name})
        assert asked.status_code == (200 if name.startswith("flood_") else 403)


def test_each_decision_is_one_line_of_json_without_a_credential(
    door: ProtectedApi, caplog: pytest.LogCaptureFixture
) -> None:
    listen(caplog)
    door.ask("GET", "/read?secret=in-the-query", "reader")
    door.ask("POST", "/operate", "reader")
    door.ask("GET", "/read")
    door.ask("GET", "/read", headers={"X-Api-Key": "gp_000000000000_" + "A" * 43})
    door.ask("GET", "/%0a%7b%22subject%22")
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


def test_a_fault_of_ours_is_told_without_what_it_was(door: ProtectedApi) -> None:
    answer = door.ask("GET", "/breaks", "reader")
    assert (answer.status_code, answer.json()["code"]) == (500, "UNEXPECTED_FAULT")
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_answer_has_the_security_headers_and_no_other_site_may_read_it(
    door: ProtectedApi,
) -> None:
    origin = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    answers = [
        door.ask("GET", "/livez", headers=origin),
        door.ask("GET", "/read", "reader", headers=origin),
        door.ask("GET", "/read", headers=origin),
        door.ask("GET", "/nowhere", "reader", headers=origin),
        door.ask("OPTIONS", "/submit", headers=origin),
        door.ask("OPTIONS", "/submit", "operator", headers=origin),
    ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "strict-transport-security" not in answer.headers
    behind_tls = door.ask("GET", "/livez", headers={"X-Forwarded-Proto": "https"})
    assert behind_tls.headers["strict-transport-security"] == "max-age=31536000"


def test_a_body_that_is_too_long_is_cut_off_whatever_its_length_says(door: ProtectedApi) -> None:
    said = door.ask("POST", "/submit", "submitter", content=b"x" * 10_001)
    assert (said.status_code, said.json()["code"]) == (413, "BODY_TOO_LARGE")

    sent: list[int] = []

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            sent.append(1)
            yield b'{"a": "' + b"x" * 1000

    unsaid = door.ask(
        "POST",
        "/submit",
        "submitter",
        content=endless(),
        headers={"Content-Type": "application/json"},
    )
    assert (unsaid.status_code, unsaid.json()["code"]) == (413, "BODY_TOO_LARGE")
    assert unsaid.headers["x-content-type-options"] == "nosniff"
    assert door.reached == []
    assert door.ask("POST", "/submit", "submitter", json={"x": "x" * 9_000}).status_code == 200


def test_who_asks_too_often_is_told_when_to_come_again_and_others_are_not_held_up(
    tmp_path: Path,
) -> None:
    with protected_api(tmp_path / "home", api_requests_per_minute=5) as door:
        answers = [door.ask("GET", "/read", "reader") for _ in range(7)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 61
        assert answers[-1].json()["retryable"] is True
        assert door.ask("GET", "/read", "submitter").status_code == 200


def test_an_address_that_asks_too_often_gets_not_even_health(tmp_path: Path) -> None:
    with protected_api(tmp_path / "home", api_address_requests_per_minute=3) as door:
        assert [door.ask("GET", "/livez").status_code for _ in range(4)] == [200, 200, 200, 429]


def test_who_guesses_keys_is_no_longer_listened_to_even_with_a_good_one(tmp_path: Path) -> None:
    with protected_api(tmp_path / "home") as door:
        wrong = [
            door.ask("GET", "/read", headers={"X-Api-Key": f"gp_{number:012x}_{'A' * 43}"})
            for number in range(FAILURES_PER_MINUTE + 1)
        ]
        assert [answer.status_code for answer in wrong] == [401] * FAILURES_PER_MINUTE + [429]
        assert door.ask("GET", "/read", "reader").status_code == 429


def test_a_token_opens_beside_keys_and_an_issuer_that_is_down_closes_for_tokens_alone(
    tmp_path: Path,
) -> None:
    with (
        issuing() as issuer,
        protected_api(
            tmp_path / "home", api_oidc_issuer=issuer.address, api_oidc_audience=AUDIENCE
        ) as door,
    ):
        issuer.is_down = True
        bearer = {"Authorization": f"Bearer {issuer.token(scp='submitter')}"}
        down = door.ask("GET", "/read", headers=bearer)
        assert (down.status_code, down.json()["code"]) == (503, "STORE_UNAVAILABLE")
        assert door.ask("GET", "/read", "reader").status_code == 200
    with (
        issuing() as issuer,
        protected_api(
            tmp_path / "other", api_oidc_issuer=issuer.address, api_oidc_audience=AUDIENCE
        ) as door,
    ):
        for scope, status in (("submitter", 200), ("reader", 403), (None, 403)):
            answer = door.ask(
                "POST",
                "/submit",
                headers={"Authorization": f"Bearer {issuer.token(scp=scope)}"},
                json={},
            )
            assert answer.status_code == status
        assert (
            door.ask(
                "GET", "/read", headers={"Authorization": f"Bearer {issuer.token(exp=1)}"}
            ).status_code
            == 401
        )


def test_without_any_credential_nothing_is_served_and_it_is_said_what_to_do(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with pytest.raises(ParameterInvalid, match="never served without one") as refused:
        guard(FastAPI(), settings)
    assert "geo-platform keys create" in refused.value.remedy


def test_a_key_that_has_ended_is_no_credential_to_serve_with(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    KeyFile(settings.api_keys_file).create("a", Scope.operator, expires_in=timedelta(seconds=-1))
    with pytest.raises(ParameterInvalid):
        guard(FastAPI(), settings)


def test_a_route_behind_no_guard_answers_nobody(tmp_path: Path) -> None:
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


def test_of_the_whole_application_every_route_but_health_and_the_sign_in_is_closed(
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
