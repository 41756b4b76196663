"""ASGI middleware in front of the whole application: authentication, rate limits, body size.

    guard(app, settings)

It is a middleware and not a dependency, so that it also protects a route, a page or a WebSocket
that declares no scope. Only the paths of OPEN_PATHS answer without a credential, and those below
PUBLIC_BASES if an operator has marked collections public. The checks themselves are in
`authentication.py` and `limits.py`; a route's scope is checked by `authentication.require`.

Called by `api/app.py` and `api/head_requests.py`.
"""

import logging
from collections.abc import Callable
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geo_platform.api.auth.audit import REQUEST_INFO, RequestInfo, audit
from geo_platform.api.auth.authentication import (
    KEY_HEADER,
    PRINCIPAL,
    Authenticator,
    open_authenticator,
)
from geo_platform.api.auth.limits import BodyLimit, RateLimits, network_of, too_large
from geo_platform.api.auth.login import Sessions, open_sessions, refusal_response
from geo_platform.api.auth.principal import Principal, anonymous_reader
from geo_platform.errors import PlatformError, RateExceeded, Unauthenticated, UnexpectedFault
from geo_platform.settings import Settings

# Health and the sign-in page. The whole path must match: paths below them need a credential.
OPEN_PATHS = frozenset({"/livez", "/readyz", "/login", "/logout"})

# Below these paths is what is published. Public collections are read there without a credential.
PUBLIC_BASES = ("/stac", "/raster", "/features")
PUBLIC_SEARCH = "/stac/search"
# Clients such as QGIS read it before they read features.
PUBLIC_DESCRIPTION = "/openapi.json"

UPLOAD_PATH = "/api/uploads/"
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# Used where the response does not set its own.
DEFAULT_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}

_log = logging.getLogger("geo_platform.api")
HSTS = "max-age=31536000"


def no_collections() -> tuple[str, ...]:
    """Return no public collection: nothing is read without a credential."""
    return ()


def guard(
    app: FastAPI, settings: Settings, *, public: Callable[[], tuple[str, ...]] = no_collections
) -> None:
    """Add the guard to the application, and to `app.state` what the sign-in page needs.

    `public` returns the collections that may be read without a credential.

    Middleware that must run before the guard (request ids) is added after this call.

    Raises ParameterInvalid: no credential is configured. StoreDenied, StoreUnavailable: the secret
    of the sessions cannot be read or written.
    """
    app.state.authenticator = open_authenticator(settings)
    app.state.sessions = open_sessions(settings)
    app.state.limits = RateLimits(settings)
    app.add_middleware(
        Guard,
        authenticator=app.state.authenticator,
        sessions=app.state.sessions,
        limits=app.state.limits,
        settings=settings,
        public=public,
    )


class Guard:
    """Checks address, credential and rate before the application runs, the body as it is read."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticator: Authenticator,
        sessions: Sessions,
        limits: RateLimits,
        settings: Settings,
        public: Callable[[], tuple[str, ...]],
    ) -> None:
        self._app = app
        self._public = public
        # One thread, so that requests without a credential do not take those of the routes.
        self._public_threads = CapacityLimiter(1)
        self._authenticator = authenticator
        self._sessions = sessions
        self._limits = limits
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection, request = HTTPConnection(scope), request_info(scope)
        token = REQUEST_INFO.set(request)
        body = BodyLimit(receive, self._body_max(scope))
        response = _GuardedResponse(send, body, is_secure=scope["scheme"] in ("https", "wss"))
        refused: PlatformError | None = None
        try:
            await self._admit(scope, connection.headers, request)
            _check_length(connection.headers, body.max_bytes)
            await self._app(scope, body.receive, response.send)
        except PlatformError as error:
            refused = error
        except Exception as error:
            if response.has_started:
                raise
            # If the body is too long, the error is only a consequence: the body was cut off.
            if body.exceeded is None:
                _log.exception("%s", request.route)
                refused = UnexpectedFault(
                    f"{type(error).__name__} while {scope['path']} was answered."
                )
        finally:
            REQUEST_INFO.reset(token)
        refused = body.exceeded or refused
        if refused is not None and not response.has_started:
            await refusal_response(refused, connection)(scope, receive, response.send_unchecked)

    async def _admit(self, scope: Scope, headers: Headers, request: RequestInfo) -> None:
        """Put the principal into the request's state.

        Raises RateExceeded, Unauthenticated, Forbidden, StoreUnavailable.
        """
        try:
            is_read = is_reading(scope)
            await self._limits.count_address(request.address, is_read=is_read)
            if scope["path"] in OPEN_PATHS:
                return
            principal = await self._principal_of(scope, headers, request)
            await self._limits.count_principal(
                f"{principal.subject} {network_of(request.address)}"
                if principal.is_anonymous
                else principal.subject,
                is_read=is_read,
            )
        except RateExceeded as error:
            audit("", allowed=False, reason=error.message)
            raise
        scope.setdefault("state", {})[PRINCIPAL] = principal

    async def _principal_of(
        self, scope: Scope, headers: Headers, request: RequestInfo
    ) -> Principal:
        await self._limits.check_failures(request.address)
        try:
            if self._sessions.applies(scope, headers):
                credential = self._sessions.credential_in(scope, headers)
                return await self._authenticator.principal_with(credential)
            return await self._authenticator.principal_of(headers)
        except Unauthenticated as error:
            public = await self._public_for(scope, headers)
            if public:
                return anonymous_reader(public)
            audit("", allowed=False, reason=str(error.details.get("reason", "")))
            if not error.details.get("is_missing"):
                await self._limits.count_failure(request.address)
            raise

    async def _public_for(self, scope: Scope, headers: Headers) -> tuple[str, ...]:
        """Return the collections that this request may read without a credential.

        There are none for a request that carries a credential: a wrong one is refused.
        """
        if "authorization" in headers or KEY_HEADER in headers or not is_reading(scope):
            return ()
        return await run_sync(self._public, limiter=self._public_threads)

    def _body_max(self, scope: Scope) -> int:
        is_upload = (
            scope["type"] == "http"
            and scope["method"] == "PUT"
            and scope["path"].startswith(UPLOAD_PATH)
        )
        return (
            self._settings.api_upload_max_bytes if is_upload else self._settings.api_body_max_bytes
        )


def is_reading(scope: Scope) -> bool:
    """Return whether the request reads what is published.

    Such a request may be open to anonymous readers, and is counted apart from others.
    """
    if scope["type"] != "http":
        return False
    method, path = scope["method"], scope["path"]
    is_below = path == PUBLIC_DESCRIPTION or any(
        path == base or path.startswith(f"{base}/") for base in PUBLIC_BASES
    )
    return is_below and (method in ("GET", "HEAD") or (method == "POST" and path == PUBLIC_SEARCH))


def _check_length(headers: Headers, max_bytes: int) -> None:
    """Raise BodyTooLarge if the declared Content-Length is too long. Nothing is read yet."""
    declared = headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > max_bytes:
        raise too_large(max_bytes)


class _GuardedResponse:
    """Adds the security headers. Drops a response that starts after the body was cut off.

    The guard then sends BodyTooLarge instead of that response.
    """

    def __init__(self, send: Send, body: BodyLimit, *, is_secure: bool) -> None:
        self._send = send
        self._body = body
        self._is_secure = is_secure
        self.has_started = False

    async def send(self, message: Message) -> None:
        if self._body.exceeded is None or self.has_started:
            await self.send_unchecked(message)

    async def send_unchecked(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._add_headers(message)
        self.has_started = True
        await self._send(message)

    def _add_headers(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        for name, value in SECURITY_HEADERS.items():
            headers[name] = value
        for name, value in DEFAULT_HEADERS.items():
            headers.setdefault(name, value)
        if self._is_secure:
            headers["Strict-Transport-Security"] = HSTS


def request_info(scope: Scope) -> RequestInfo:
    """Return the fields of this request for the audit line."""
    client: Any = scope.get("client")
    method = scope.get("method", "WEBSOCKET")
    state = scope.get("state", {})
    return RequestInfo(
        f"{method} {scope['path']}", client[0] if client else "", str(state.get("request_id", ""))
    )
