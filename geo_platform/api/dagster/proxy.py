"""Dagster's pages and its GraphQL under /dagster, for those whom the guard let in.

What belongs here: which requests go on to the webserver, and what of them and of its answers passes. What stays out: sockets
(`proxy_socket.py`), what a GraphQL document does (`graphql_gate.py`).

An operator may do all that the pages offer; whoever else may only look, by the read-only webserver where there is one, and whichever it
is, no mutation of theirs goes on. A principal with allow-lists gets none of it: the pages show all there is.

Headers pass by name in both directions, all others end here: credentials, cookies, what smuggles (Transfer-Encoding, Connection and
what it names), what claims to be forwarded. The address that is asked is always the configured one.
"""

from collections.abc import AsyncIterator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
from starlette.background import BackgroundTask
from starlette.requests import HTTPConnection, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from geo_platform.api.auth.audit import audit
from geo_platform.api.auth.authentication import authenticated_principal, check_scope
from geo_platform.api.auth.login import refusal_response
from geo_platform.api.auth.principal import Principal
from geo_platform.api.auth.principal import Scope as Allowed
from geo_platform.api.dagster.graphql_gate import check_read_only, read_request
from geo_platform.api.dagster.proxy_socket import relay
from geo_platform.errors import (
    Forbidden,
    NotFound,
    ParameterInvalid,
    PlatformError,
    StoreUnavailable,
)
from geo_platform.settings import Settings

# What the webserver must be started with as --path-prefix: its pages name their own addresses.
PREFIX = "/dagster"

GRAPHQL = f"{PREFIX}/graphql"
PASSED_ON = (
    "accept",
    "accept-encoding",
    "accept-language",
    "if-modified-since",
    "if-none-match",
    "user-agent",
)
PASSED_BACK = (
    "content-type",
    "content-encoding",
    "content-length",
    "content-disposition",
    "content-security-policy",
    "etag",
    "last-modified",
)
# Of the webserver: they show a file of the code location's machine that the caller names.
_READS_A_FILE = ("/notebook", "/dagit/notebook")

_HOW_TO_START = (
    f"Start dagster-webserver with --path-prefix {PREFIX} (or DAGSTER_WEBSERVER_PATH_PREFIX={PREFIX} geo-platform dev), and set "
    f"GEO_PLATFORM_DAGSTER_URL to http://HOST:3000{PREFIX}."
)
_TIMEOUT = httpx.Timeout(120, connect=5)


class DagsterProxy:
    """An ASGI application. `upstream` and `read_only` are the webservers' origins, without the prefix; None where they have none."""

    def __init__(self, settings: Settings) -> None:
        self._upstream = origin_of(settings.dagster_url)
        self._read_only = origin_of(settings.dagster_read_only_url or settings.dagster_url)
        # one client for everybody: a cookie that it kept would go out with the next one's request
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        self._client = httpx.AsyncClient(
            timeout=_TIMEOUT, follow_redirects=False, trust_env=False, cookies=no_cookies
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            principal = authenticated_principal(scope)
            check_unlimited(principal)
            path = checked_path(scope)
            if scope["type"] == "websocket":
                await relay(
                    scope,
                    receive,
                    send,
                    principal=principal,
                    upstream=self._origin(principal),
                    path=path,
                )
                return
            answer = await self._answer(Request(scope, receive), principal, path)
        except PlatformError as error:
            answer = refusal_response(error, HTTPConnection(scope))
        await answer(scope, receive, send)

    async def _answer(self, request: Request, principal: Principal, path: str) -> Response:
        if path == PREFIX:
            return RedirectResponse(f"{PREFIX}/", status_code=308)
        check_scope(
            principal,
            Allowed.reader
            if request.method in ("GET", "HEAD") or path == GRAPHQL
            else Allowed.operator,
        )
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        if path != GRAPHQL:
            return await self._passed(request, principal, headers, await request.body())
        if request.method != "POST":
            return await self._graphiql(request, principal, headers)
        asked = read_request(await request.body())
        if not may_change(principal):
            check_read_only(asked, principal.subject)
        return await self._sent(principal, "POST", GRAPHQL, headers=headers, json=asked)

    async def _graphiql(
        self, request: Request, principal: Principal, headers: dict[str, str]
    ) -> Response:
        """The page alone: a document in an address could be sent by a link."""
        if "text/html" not in request.headers.get("accept", ""):
            raise ParameterInvalid(
                "GraphQL is asked by POST here.", remedy="Send the query as a JSON body."
            )
        return await self._sent(
            principal, "GET", GRAPHQL, headers={**headers, "accept": "text/html"}
        )

    async def _passed(
        self, request: Request, principal: Principal, headers: dict[str, str], body: bytes
    ) -> Response:
        if request.method not in ("GET", "HEAD", "POST"):
            raise ParameterInvalid(f"Dagster's pages do not take {request.method}.")
        if "content-type" in request.headers:
            headers = {**headers, "content-type": request.headers["content-type"]}
        query = request.scope.get("query_string", b"").decode("ascii", "replace")
        raw = request.scope.get("raw_path") or request.scope["path"].encode()
        target = raw.partition(b"?")[0].decode("ascii", "replace") + (f"?{query}" if query else "")
        return await self._sent(principal, request.method, target, headers=headers, content=body)

    async def _sent(
        self,
        principal: Principal,
        method: str,
        target: str,
        *,
        headers: dict[str, str],
        **body: Any,
    ) -> Response:
        """Ask the webserver, and hand its answer on while it comes. Raises StoreUnavailable where it does not answer."""
        asked = self._client.build_request(
            method,
            self._origin(principal).copy_with(raw_path=target.encode()),
            headers=headers,
            **body,
        )
        try:
            answered = await self._client.send(asked, stream=True)
        except httpx.HTTPError as error:
            raise StoreUnavailable(
                f"Dagster's webserver does not answer: {type(error).__name__}.",
                remedy="Ask again; if that lasts, see whether it runs.",
            ) from error
        passed = {name: answered.headers[name] for name in PASSED_BACK if name in answered.headers}
        passed.setdefault("cache-control", "private, no-cache")
        passed.setdefault("content-security-policy", "frame-ancestors 'none'")
        location = answered.headers.get("location", "")
        if location.startswith(PREFIX):
            passed["location"] = location
        return StreamingResponse(
            _content(answered),
            answered.status_code,
            passed,
            background=BackgroundTask(answered.aclose),
        )

    def _origin(self, principal: Principal) -> httpx.URL:
        origin = self._upstream if may_change(principal) else self._read_only
        if origin is None:
            raise NotFound(
                f"Dagster's webserver is not started for {PREFIX}.", remedy=_HOW_TO_START
            )
        return origin


def may_change(principal: Principal) -> bool:
    return principal.holds(Allowed.operator)


def check_unlimited(principal: Principal) -> None:
    """Raises Forbidden for whoever may not see everything: Dagster's pages know no allow-lists."""
    if principal.is_limited:
        audit(principal.subject, allowed=False, reason="has allow-lists")
        raise Forbidden(
            f"{principal.subject} may use some containers or datasets, and Dagster's pages show all of them.",
            remedy="Use /api/jobs, or a key without --container and --dataset.",
        )


def checked_path(scope: Scope) -> str:
    """The path as the webserver will read it, below PREFIX. Raises ParameterInvalid where it climbs, NotFound for what reads files."""
    path = str(scope["path"])
    raw = scope.get("raw_path")
    if raw is not None and unquote(raw.partition(b"?")[0].decode("latin-1")) != path:
        raise ParameterInvalid("The path can be read in two ways.")
    below = path.removeprefix(PREFIX)
    parts = below.strip("/").split("/")
    if (
        "\\" in path
        or not path.isprintable()
        or any(part in (".", "..") for part in parts)
        or "//" in path
    ):
        raise ParameterInvalid(
            "The path climbs, or has an empty part.", remedy="Open the page from /dagster/."
        )
    if below.rstrip("/") in _READS_A_FILE:
        raise NotFound(
            f"{path} shows files of the machine and is not offered.",
            remedy="Open the page from /dagster/.",
        )
    return path


def origin_of(url: str) -> httpx.URL | None:
    """Where the webserver is; None where it is not started with the prefix. Raises ParameterInvalid where it is no plain address."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise ParameterInvalid(
            f"{url!r} is no plain address of Dagster's webserver.", remedy=_HOW_TO_START
        )
    return (
        httpx.URL(f"{parts.scheme}://{parts.netloc}") if parts.path.rstrip("/") == PREFIX else None
    )


async def _content(answered: httpx.Response) -> AsyncIterator[bytes]:
    """As it is on the wire: what is compressed stays so."""
    async for part in answered.aiter_raw():
        yield part
