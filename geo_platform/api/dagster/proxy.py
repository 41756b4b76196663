"""Reverse proxy for Dagster's pages and GraphQL API under /dagster.

An operator may do everything that the pages offer. Other scopes may only read: they use the
read-only webserver if there is one, and their mutations are refused (`graphql_gate.py`). A
principal with allow-lists gets no page, since the pages show all data.

Only headers that are listed here pass, in both directions; credentials, cookies, hop-by-hop and
Forwarded headers do not. The upstream address is always the configured one. `proxy_socket.py`
relays WebSockets.

Called by `api/app.py`.
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
from geo_platform.api.auth.principal import Scope as AccessScope
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

# The webserver needs the same --path-prefix, since its pages contain their own addresses.
PREFIX = "/dagster"

GRAPHQL = f"{PREFIX}/graphql"
FORWARDED_REQUEST_HEADERS = (
    "accept",
    "accept-encoding",
    "accept-language",
    "if-modified-since",
    "if-none-match",
    "user-agent",
)
FORWARDED_RESPONSE_HEADERS = (
    "content-type",
    "content-encoding",
    "content-length",
    "content-disposition",
    "content-security-policy",
    "etag",
    "last-modified",
)
# Routes of the webserver that return any file of its machine that the caller names.
_FILE_ROUTES = ("/notebook", "/dagit/notebook")

_HOW_TO_START = (
    f"Start dagster-webserver with --path-prefix {PREFIX} "
    f"(or DAGSTER_WEBSERVER_PATH_PREFIX={PREFIX} geo-platform dev), "
    f"and set GEO_PLATFORM_DAGSTER_URL to http://HOST:3000{PREFIX}."
)
_TIMEOUT = httpx.Timeout(120, connect=5)


class DagsterProxy:
    """ASGI application that forwards to the webserver and, for readers, to the read-only one.

    `_upstream` and `_read_only` are the origins of the two webservers, or None if the URL of that
    webserver does not end with PREFIX.
    """

    def __init__(self, settings: Settings) -> None:
        self._upstream = origin_of(settings.dagster_url)
        self._read_only = origin_of(settings.dagster_read_only_url or settings.dagster_url)
        # One client serves all callers: a stored cookie would go out with another caller's request.
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        self._client = httpx.AsyncClient(
            timeout=_TIMEOUT, follow_redirects=False, trust_env=False, cookies=no_cookies
        )

    async def close(self) -> None:
        """Close the connections to the webservers."""
        await self._client.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            principal = authenticated_principal(scope)
            check_no_allow_list(principal)
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
            response = await self._respond(Request(scope, receive), principal, path)
        except PlatformError as error:
            response = refusal_response(error, HTTPConnection(scope))
        await response(scope, receive, send)

    async def _respond(self, request: Request, principal: Principal, path: str) -> Response:
        if path == PREFIX:
            return RedirectResponse(f"{PREFIX}/", status_code=308)
        check_scope(
            principal,
            AccessScope.reader
            if request.method in ("GET", "HEAD") or path == GRAPHQL
            else AccessScope.operator,
        )
        headers = {
            name: request.headers[name]
            for name in FORWARDED_REQUEST_HEADERS
            if name in request.headers
        }
        if path != GRAPHQL:
            return await self._forward_page(request, principal, headers, await request.body())
        if request.method != "POST":
            return await self._graphiql(request, principal, headers)
        query = read_request(await request.body())
        if not may_change(principal):
            check_read_only(query, principal.subject)
        return await self._send(principal, "POST", GRAPHQL, headers=headers, json=query)

    async def _graphiql(
        self, request: Request, principal: Principal, headers: dict[str, str]
    ) -> Response:
        """Return the GraphiQL page only: another site could link to a URL with a query."""
        if "text/html" not in request.headers.get("accept", ""):
            raise ParameterInvalid(
                "GraphQL accepts only POST.", remedy="Send the query as a JSON body."
            )
        return await self._send(
            principal, "GET", GRAPHQL, headers={**headers, "accept": "text/html"}
        )

    async def _forward_page(
        self, request: Request, principal: Principal, headers: dict[str, str], body: bytes
    ) -> Response:
        if request.method not in ("GET", "HEAD", "POST"):
            raise ParameterInvalid(f"Dagster's pages do not accept {request.method}.")
        if "content-type" in request.headers:
            headers = {**headers, "content-type": request.headers["content-type"]}
        query = request.scope.get("query_string", b"").decode("ascii", "replace")
        raw = request.scope.get("raw_path") or request.scope["path"].encode()
        target = raw.partition(b"?")[0].decode("ascii", "replace") + (f"?{query}" if query else "")
        return await self._send(principal, request.method, target, headers=headers, content=body)

    async def _send(
        self,
        principal: Principal,
        method: str,
        target: str,
        *,
        headers: dict[str, str],
        **body: Any,
    ) -> Response:
        """Send the request to the webserver and stream the response.

        Raises StoreUnavailable: the webserver does not answer. NotFound: it is not started with
        PREFIX.
        """
        upstream_request = self._client.build_request(
            method,
            self._origin(principal).copy_with(raw_path=target.encode()),
            headers=headers,
            **body,
        )
        try:
            upstream = await self._client.send(upstream_request, stream=True)
        except httpx.HTTPError as error:
            raise StoreUnavailable(
                f"Dagster's webserver does not answer: {type(error).__name__}.",
                remedy="Retry; if it still fails, check that the webserver runs.",
            ) from error
        response_headers = {
            name: upstream.headers[name]
            for name in FORWARDED_RESPONSE_HEADERS
            if name in upstream.headers
        }
        response_headers.setdefault("cache-control", "private, no-cache")
        response_headers.setdefault("content-security-policy", "frame-ancestors 'none'")
        location = upstream.headers.get("location", "")
        if location.startswith(PREFIX):
            response_headers["location"] = location
        return StreamingResponse(
            _content(upstream),
            upstream.status_code,
            response_headers,
            background=BackgroundTask(upstream.aclose),
        )

    def _origin(self, principal: Principal) -> httpx.URL:
        origin = self._upstream if may_change(principal) else self._read_only
        if origin is None:
            raise NotFound(
                f"Dagster's webserver is not started for {PREFIX}.", remedy=_HOW_TO_START
            )
        return origin


def may_change(principal: Principal) -> bool:
    """Return whether the principal may change something in Dagster."""
    return principal.has_scope(AccessScope.operator)


def check_no_allow_list(principal: Principal) -> None:
    """Raise Forbidden if the principal has allow-lists: Dagster's pages cannot apply them."""
    if principal.has_allow_list:
        audit(principal.subject, allowed=False, reason="has allow-lists")
        raise Forbidden(
            f"{principal.subject} may use only some containers or datasets; Dagster's pages show "
            "all of them.",
            remedy="Use /api/jobs, or a key without --container and --dataset.",
        )


def checked_path(scope: Scope) -> str:
    """Return the path, if the webserver is sure to interpret it in the same way.

    Raises ParameterInvalid: the path could leave PREFIX, or its raw and decoded forms differ.
    NotFound: the webserver's route at this path returns files of its machine.
    """
    path = str(scope["path"])
    raw = scope.get("raw_path")
    if raw is not None and unquote(raw.partition(b"?")[0].decode("latin-1")) != path:
        raise ParameterInvalid("The path is ambiguous: its raw and decoded forms differ.")
    below = path.removeprefix(PREFIX)
    parts = below.strip("/").split("/")
    if (
        "\\" in path
        or not path.isprintable()
        or any(part in (".", "..") for part in parts)
        or "//" in path
    ):
        raise ParameterInvalid(
            "The path has an empty part, '.' or '..', or a character that is not allowed.",
            remedy="Open the page from /dagster/.",
        )
    if below.rstrip("/") in _FILE_ROUTES:
        raise NotFound(
            f"{path} is not served: it would show files of the server.",
            remedy="Open the page from /dagster/.",
        )
    return path


def origin_of(url: str) -> httpx.URL | None:
    """Return the origin of a webserver's URL, or None if the URL does not end with PREFIX.

    Raises ParameterInvalid: the URL is not http or https, or it has a query or a user.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise ParameterInvalid(
            f"{url!r} is not a plain URL of Dagster's webserver.", remedy=_HOW_TO_START
        )
    return (
        httpx.URL(f"{parts.scheme}://{parts.netloc}") if parts.path.rstrip("/") == PREFIX else None
    )


async def _content(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the body as received, without decompressing it."""
    async for part in response.aiter_raw():
        yield part
