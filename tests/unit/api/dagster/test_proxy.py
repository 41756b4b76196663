"""What the proxy forwards to a webserver, and what it returns of the response."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx
import pytest

from geo_platform.api.auth.login import Sessions
from tests.support.authenticated import ProtectedApi, protected_api
from tests.support.listening import Listener, listening

HOP_BY_HOP = (
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
)


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[ProtectedApi, Listener, Listener]]:
    home = tmp_path_factory.mktemp("proxy") / "home"
    urls = {"dagster_url": "{}/dagster", "dagster_read_only_url": "{}/dagster/"}
    with listening() as full, listening() as read_only:
        addresses = {"dagster_url": full.address, "dagster_read_only_url": read_only.address}
        with protected_api(
            home, **{name: url.format(addresses[name]) for name, url in urls.items()}
        ) as api:
            yield api, full, read_only


@pytest.fixture
def api(pair: tuple[ProtectedApi, Listener, Listener]) -> ProtectedApi:
    for listener in pair[1:]:
        listener.requests.clear()
        listener.answer_headers, listener.status = [], 200
    return pair[0]


@pytest.fixture
def full(pair: tuple[ProtectedApi, Listener, Listener]) -> Listener:
    return pair[1]


@pytest.fixture
def read_only(pair: tuple[ProtectedApi, Listener, Listener]) -> Listener:
    return pair[2]


def raw(api: ProtectedApi, request: bytes) -> bytes:
    """Send the request exactly as written: a client library would normalise it."""
    with closing(
        socket.create_connection(("127.0.0.1", httpx.URL(api.address).port or 0), 10)
    ) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_operators_reach_the_webserver_and_others_the_read_only_one(
    api: ProtectedApi, full: Listener, read_only: Listener
) -> None:
    for key in ("reader", "submitter", "operator"):
        assert api.ask("GET", "/dagster/runs/a%20b?cursor=x%2Fy", key).text == "ok"
    assert [one.target for one in read_only.requests] == ["/dagster/runs/a%20b?cursor=x%2Fy"] * 2
    assert [one.target for one in full.requests] == ["/dagster/runs/a%20b?cursor=x%2Fy"]


def test_a_principal_with_allow_lists_gets_no_page(
    api: ProtectedApi, full: Listener, read_only: Listener
) -> None:
    for method, path in (
        ("GET", "/dagster/"),
        ("POST", "/dagster/graphql"),
        ("GET", "/dagster/server_info"),
    ):
        answer = api.ask(
            method, path, "limited", json={"query": "{version}"} if method == "POST" else None
        )
        assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
    assert full.requests == read_only.requests == []


def test_no_credential_cookie_or_forwarding_header_reaches_the_webserver(
    api: ProtectedApi, full: Listener
) -> None:
    sent = {
        "Cookie": "a=b",
        "X-Forwarded-For": "10.0.0.1",
        "X-Forwarded-Host": "evil.example",
        "X-Original-URL": "/notebook",
        "X-Rewrite-URL": "/notebook",
        "X-HTTP-Method-Override": "DELETE",
        "Forwarded": "for=10.0.0.1",
        "Origin": "https://evil.example",
        "X-Anything": "else",
        "Accept": "text/plain",
        "If-None-Match": '"etag"',
    }
    assert api.ask("GET", "/dagster/", "operator", headers=sent).status_code == 200
    (reached,) = full.requests
    assert set(reached.headers) == {
        "host",
        "accept",
        "accept-encoding",
        "connection",
        "user-agent",
        "if-none-match",
    }
    assert reached.headers["host"] == full.address.removeprefix("http://")
    assert api.keys["operator"] not in str(reached)


def test_smuggled_requests_and_hop_by_hop_headers_are_not_forwarded(
    api: ProtectedApi, full: Listener
) -> None:
    key, inside = api.keys["operator"], b"0\r\n\r\nGET /dagster/inside HTTP/1.1\r\nHost: x\r\n\r\n"
    head = f"POST /dagster/graphql HTTP/1.1\r\nHost: x\r\nX-Api-Key: {key}\r\n"
    head += "Content-Type: application/json\r\nConnection: close, x-secret\r\n"
    extra = "".join(
        f"{name}: 1\r\n"
        for name in HOP_BY_HOP
        if name not in ("connection", "transfer-encoding", "upgrade")
    )
    length = f"Content-Length: {len(inside)}\r\n"
    smuggled = (
        f"{head}X-Secret: 1\r\n{extra}{length}Transfer-Encoding: chunked\r\n\r\n",
        f"{head}Content-Length: 5\r\n{length}\r\n",
        f"{head}Transfer-Encoding: xchunked\r\n{length}\r\n",
        f"{head}Transfer-Encoding : chunked\r\n\r\n",
    )
    answers = [raw(api, request.encode() + inside) for request in smuggled]
    assert all(answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 422")) for answer in answers)
    assert full.requests == []
    body = b'{"query": "{version}"}'
    raw(api, f"{head}X-Secret: 1\r\n{extra}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    (reached,) = full.requests
    assert not set(reached.headers) & ({*HOP_BY_HOP, "x-secret"} - {"connection"})
    assert reached.headers["connection"] == "keep-alive"


def test_a_request_for_another_address_goes_to_the_configured_webserver(
    api: ProtectedApi, full: Listener
) -> None:
    with listening() as stranger:
        there = stranger.address.removeprefix("http://")
        key = f"X-Api-Key: {api.keys['operator']}\r\nConnection: close\r\n\r\n"
        for line in (
            f"GET {stranger.address}/dagster/x HTTP/1.1\r\nHost: {there}\r\n",
            f"GET /dagster/x HTTP/1.1\r\nHost: {there}\r\n",
            f"GET /dagster/@{there}/x HTTP/1.1\r\nHost: x\r\n",
            f"GET /dagster/http://{there}/x HTTP/1.1\r\nHost: x\r\n",
            f"GET /dagster/x?url={stranger.address}&host={there} HTTP/1.1\r\nHost: x\r\n",
            f"GET //{there}/dagster/x HTTP/1.1\r\nHost: x\r\n",
            f"CONNECT {there} HTTP/1.1\r\nHost: {there}\r\n",
        ):
            raw(api, f"{line}{key}".encode())
        assert stranger.requests == []
    assert all(one.headers["host"] == full.address.removeprefix("http://") for one in full.requests)
    assert all(one.target.startswith("/dagster/") for one in full.requests)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/dagster/../metrics",
            "/dagster/..",
            "/dagster/%2e%2e/x",
            "/dagster/.%2e/x",
            "/dagster/a/%2e%2e%2f%2e%2e%2fetc/passwd",
        ),
        *(
            "/dagster/logs/..%2f..%2f..%2fetc%2fpasswd",
            "/dagster/..%5c..%5cx",
            "/dagster/a//b",
            "/dagster//notebook",
            "/dagster/./x",
        ),
        *("/dagster/x%0d%0aX-Injected:%201", "/dagster/x%00", "/dagster/%2f/x"),
        *(
            "/dagster/notebook?path=/etc/x.ipynb",
            "/dagster/notebook/",
            "/dagster/dagit/notebook?path=x.ipynb",
            "/dagster/%6eotebook?path=x.ipynb",
        ),
    ],
)
def test_a_path_that_escapes_or_reads_local_files_is_not_forwarded(
    api: ProtectedApi, full: Listener, read_only: Listener, path: str
) -> None:
    for key in ("reader", "operator"):
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {api.keys[key]}\r\n"
        answer = raw(api, f"{head}Connection: close\r\n\r\n".encode())
        assert answer.split(b" ", 2)[1] in (b"404", b"422", b"400")
    assert full.requests == read_only.requests == []


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_a_reader_can_only_send_queries_to_graphql(
    api: ProtectedApi, read_only: Listener, full: Listener, method: str
) -> None:
    for path in ("/dagster/report_asset_materialization/a", "/dagster/", "/dagster/graphql/"):
        assert api.ask(method, path, "submitter").status_code in (403, 422)
    assert read_only.requests == full.requests == []


def test_a_response_has_no_cookies_foreign_redirects_or_hop_by_hop_headers(
    api: ProtectedApi, full: Listener
) -> None:
    full.answer_headers = [
        ("Set-Cookie", "a=b"),
        ("Location", "https://evil.example/"),
        ("Access-Control-Allow-Origin", "*"),
        ("Server", "secret/1.0"),
        ("X-Frame-Options", "ALLOWALL"),
        ("Strict-Transport-Security", "max-age=0"),
        ("Content-Type", "text/javascript"),
        ("ETag", '"e"'),
    ]
    full.status = 302
    answer = api.ask("GET", "/dagster/", "operator", follow_redirects=False)
    assert answer.status_code == 302
    assert not {
        "set-cookie",
        "location",
        "access-control-allow-origin",
        "strict-transport-security",
    } & set(answer.headers)
    assert (
        answer.headers["x-frame-options"],
        answer.headers["etag"],
        answer.headers["content-type"],
    ) == ("DENY", '"e"', "text/javascript")
    assert answer.headers["server"] != "secret/1.0"


def test_a_cookie_of_the_webserver_is_not_stored(api: ProtectedApi, full: Listener) -> None:
    full.answer_headers = [("Set-Cookie", "a=b; Path=/")]
    for _ in range(2):
        api.ask("GET", "/dagster/", "operator")
    assert "cookie" not in full.requests[1].headers


def test_graphql_takes_only_a_json_body_and_it_is_serialised_again(
    api: ProtectedApi, full: Listener, read_only: Listener
) -> None:
    doubled = (
        b'{"query": "mutation { a }", "extensions": {"x": 1}, '
        b'"query": "{ version }", "variables": null}'
    )
    answer = api.ask(
        "POST",
        "/dagster/graphql?query=mutation%7Ba%7D",
        "reader",
        content=doubled,
        headers={"Content-Type": "application/graphql"},
    )
    assert answer.status_code == 200
    (reached,) = read_only.requests
    assert reached.target == "/dagster/graphql"
    assert httpx.Response(200, content=reached.body).json() == {
        "query": "{ version }",
        "variables": None,
        "operationName": None,
    }
    assert reached.headers["content-type"] == "application/json"
    for key in ("reader", "operator"):
        assert api.ask("GET", "/dagster/graphql?query=mutation%7Ba%7D", key).status_code == 422
        page = api.ask(
            "GET", "/dagster/graphql?query=mutation%7Ba%7D", key, headers={"Accept": "text/html"}
        )
        assert page.status_code == 200
    assert [one.target for one in (*full.requests, *read_only.requests[1:])] == [
        "/dagster/graphql"
    ] * 2


@pytest.mark.parametrize(
    "query",
    [
        "mutation { a }",
        "query A { a } mutation B { b }",
        "fragment F on Q { a } mutation { ...F }",
        "#comment\nmutation { a }",
        "\ufeffmutation { a }",
        ",,,mutation@skip(if: false){a}",
    ],
)
def test_a_mutation_of_a_reader_is_refused_in_every_spelling(
    api: ProtectedApi, read_only: Listener, full: Listener, query: str
) -> None:
    for key in ("reader", "submitter"):
        answer = api.ask(
            "POST", "/dagster/graphql", key, json={"query": query, "operationName": "A"}
        )
        assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
    assert read_only.requests == full.requests == []
    assert api.ask("POST", "/dagster/graphql", "operator", json={"query": query}).status_code == 200
    assert len(full.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"[]",
            b"{}",
            b"null",
            b'"mutation { a }"',
            b'[{"query": "mutation { a }"}]',
            b'{"query": ["mutation { a }"]}',
            b'{"query": "{"}',
        ),
        *(
            b'{"query": "{a}", "variables": "mutation"}',
            b'{"query": "type A { a: Int }"}',
            b'{"query": "{a}", "variables": {"x": NaN}}',
        ),
        b'{"query": "' + b"{a" * 5_000 + b'"}',
        b"[" * 100_000,
        b'{"query": "{' + b"a " * 25_000 + b'}"}',
    ],
    ids=lambda body: body[:24].decode(),
)
def test_a_body_that_is_not_one_query_is_refused(
    api: ProtectedApi, read_only: Listener, body: bytes
) -> None:
    answer = api.ask("POST", "/dagster/graphql", "reader", content=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "PARAMETER_INVALID")
    assert read_only.requests == []


@contextmanager
def browser(api: ProtectedApi, key: str = "reader") -> Iterator[httpx.Client]:
    """A client that sends the session cookie as a browser does, but over plain HTTP."""
    origin = {"Origin": api.address}
    with httpx.Client(headers=origin, base_url=api.address) as client:
        answer = client.post("/login", data={"credential": api.keys[key], "next": "/dagster/runs"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/dagster/runs")
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-geo_platform=")
        assert cookie.endswith("; Path=/; Secure; HttpOnly; SameSite=Strict")
        assert api.keys[key] not in cookie
        client.cookies.clear()
        client.headers["Cookie"] = cookie.partition(";")[0]
        yield client


def test_a_browser_signs_in_with_a_key_and_its_cookie_opens_only_the_pages(
    api: ProtectedApi, read_only: Listener
) -> None:
    with browser(api) as client:
        assert client.get("/dagster/").text == "ok"
        assert client.post("/dagster/graphql", json={"query": "{version}"}).status_code == 200
        assert "cookie" not in read_only.requests[0].headers
        for path in ("/read", "/openapi.json", "/dagsterx"):
            assert client.get(path).status_code == 401
        out = client.post("/logout")
        assert "Max-Age=0" in out.headers["set-cookie"]


@pytest.mark.parametrize(
    "origin",
    [None, "https://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1:1", "file://"],
)
def test_the_cookie_is_ignored_in_a_cross_site_request(
    api: ProtectedApi, read_only: Listener, origin: str | None
) -> None:
    with browser(api) as client:
        del client.headers["Origin"]
        headers = {"Origin": origin} if origin is not None else {}
        for path in ("/dagster/graphql", "/logout", "/login"):
            answer = client.post(path, json={"query": "{version}"}, headers=headers)
            assert answer.status_code == 401
            assert "set-cookie" not in answer.headers
    assert read_only.requests == []


def test_an_invalid_or_foreign_cookie_is_refused(
    api: ProtectedApi,
) -> None:
    of_another_secret = Sessions("another secret of thirty-two characters", 8).encrypted(
        api.keys["operator"]
    )
    for value in (of_another_secret, "", "x", api.keys["operator"]):
        assert (
            api.ask(
                "GET", "/dagster/", headers={"Cookie": f"__Host-geo_platform={value}"}
            ).status_code
            == 401
        )


@pytest.mark.parametrize(
    "onward",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/read",
        "javascript:alert(1)",
        "/dagster\r\nSet-Cookie: a=b",
        "",
    ],
)
def test_signing_in_never_redirects_to_another_site_or_page(api: ProtectedApi, onward: str) -> None:
    answer = api.ask(
        "POST",
        "/login",
        data={"credential": api.keys["reader"], "next": onward},
        headers={"Origin": api.address},
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/dagster/")
    assert len(answer.headers.get_list("set-cookie")) == 1


def test_a_wrong_key_shows_the_page_again_without_the_input(
    api: ProtectedApi,
) -> None:
    wrong: dict[str, Any] = {
        "credential": '"><script>alert(1)</script>',
        "next": '/dagster/"><script>alert(2)</script>',
    }
    answer = api.ask("POST", "/login", data=wrong, headers={"Origin": api.address})
    assert answer.status_code == 401
    assert "<script" not in answer.text
    assert "set-cookie" not in answer.headers


def test_a_browser_without_a_session_gets_the_sign_in_page(api: ProtectedApi) -> None:
    answer = api.ask("GET", "/dagster/runs?q=a%22b", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (401, "text/html; charset=utf-8")
    assert 'name="next" value="/dagster/runs?q=a%22b"' in answer.text
    assert "form-action 'self'" in answer.headers["content-security-policy"]
    assert "www-authenticate" in answer.headers


def test_an_unavailable_webserver_is_reported(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with protected_api(
        tmp_path_factory.mktemp("down") / "home", dagster_url="http://127.0.0.1:9/dagster"
    ) as api:
        answer = api.ask("GET", "/dagster/", "operator")
        assert (answer.status_code, answer.json()["code"]) == (503, "STORE_UNAVAILABLE")
    with protected_api(
        tmp_path_factory.mktemp("bare") / "home", dagster_url="http://127.0.0.1:9"
    ) as api:
        answer = api.ask("GET", "/dagster/", "operator")
        assert (answer.status_code, "--path-prefix /dagster" in answer.json()["remedy"]) == (
            404,
            True,
        )
