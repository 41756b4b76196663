"""What stands before the whole application: nobody gets past it unknown, too often, or with too much.

    guard(app, settings)

What belongs here: the order of the checks, security headers, and the answers of those that do not get past. What stays out: each check
(`lock.py`, `limits.py`), and whether a scope is enough for a route (`lock.require`).

An ASGI middleware and no dependency, so that a route, a page or a socket that forgets the lock is still behind it: only paths of
OPEN_PATHS answer without a credential, whatever is added to the application.
"""

import logging
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geo_platform.api.auth.audit import ASKED, Asked, audit
from geo_platform.api.auth.authentication import PRINCIPAL, Lock, open_lock
from geo_platform.api.auth.limits import BodyLimit, RateLimits, too_large
from geo_platform.api.auth.login import refusal
from geo_platform.api.auth.principal import Principal
from geo_platform.api.auth.sessions import Sessions, open_sessions
from geo_platform.errors import PlatformError, RateExceeded, Unauthenticated, UnexpectedFault
from geo_platform.settings import Settings

# Health, and the page where a browser shows its credential. Compared whole: no path below them is
# open.
OPEN_PATHS = frozenset({"/livez", "/readyz", "/login", "/logout"})

UPLOAD_PATH = "/api/uploads/"
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# Where an answer says nothing else: pages say what they need.
DEFAULT_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}

_log = logging.getLogger("geo_platform.api")
HSTS = "max-age=31536000"


def guard(app: FastAPI, settings: Settings) -> None:
    """Put it before the application, and what the page to sign in needs into its state.

    What is to be around it (ids of requests) is added after it. Raises ParameterInvalid where no credential is configured.
    """
    app.state.lock = open_lock(settings)
    app.state.sessions = open_sessions(settings)
    app.state.limits = RateLimits(settings)
    app.add_middleware(
        Guard,
        lock=app.state.lock,
        sessions=app.state.sessions,
        limits=app.state.limits,
        settings=settings,
    )


class Guard:
    """Checks in the order of what they cost: address, credential, principal; then the body while it is read."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        lock: Lock,
        sessions: Sessions,
        limits: RateLimits,
        settings: Settings,
    ) -> None:
        self._app = app
        self._lock = lock
        self._sessions = sessions
        self._limits = limits
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection, asked = HTTPConnection(scope), asked_of(scope)
        marked = ASKED.set(asked)
        body = BodyLimit(receive, self._body_max(scope))
        answer = _Answer(send, body, is_secure=scope["scheme"] in ("https", "wss"))
        refused: PlatformError | None = None
        try:
            await self._admit(scope, connection.headers, asked)
            _check_length(connection.headers, body.max_bytes)
            await self._app(scope, body.receive, answer.send)
        except PlatformError as error:
            refused = error
        except Exception as error:
            if answer.has_begun:
                raise
            if body.exceeded is None:  # else it is how the application took the end of the body
                _log.exception("%s", asked.route)
                refused = UnexpectedFault(
                    f"{type(error).__name__} while {scope['path']} was answered."
                )
        finally:
            ASKED.reset(marked)
        refused = body.exceeded or refused
        if refused is not None and not answer.has_begun:
            await refusal(refused, connection)(scope, receive, answer.send_own)

    async def _admit(self, scope: Scope, headers: Headers, asked: Asked) -> None:
        """Puts the principal into the request's state. Raises RateExceeded, Unauthenticated, Forbidden, StoreUnavailable."""
        try:
            await self._limits.count_address(asked.address)
            if scope["path"] in OPEN_PATHS:
                return
            principal = await self._principal_of(scope, headers, asked)
            await self._limits.count_principal(principal.subject)
        except RateExceeded as error:
            audit("", allowed=False, reason=error.message)
            raise
        scope.setdefault("state", {})[PRINCIPAL] = principal

    async def _principal_of(self, scope: Scope, headers: Headers, asked: Asked) -> Principal:
        await self._limits.check_failures(asked.address)
        try:
            if self._sessions.applies(scope, headers):
                return await self._lock.principal_with(self._sessions.credential_in(scope, headers))
            return await self._lock.principal_of(headers)
        except Unauthenticated as error:
            audit("", allowed=False, reason=str(error.details.get("reason", "")))
            if not error.details.get("is_missing"):
                await self._limits.count_failure(asked.address)
            raise

    def _body_max(self, scope: Scope) -> int:
        is_upload = (
            scope["type"] == "http"
            and scope["method"] == "PUT"
            and scope["path"].startswith(UPLOAD_PATH)
        )
        return (
            self._settings.api_upload_max_bytes if is_upload else self._settings.api_body_max_bytes
        )


def _check_length(headers: Headers, max_bytes: int) -> None:
    """Raises BodyTooLarge where the request says itself that it is more: nothing of it is read."""
    said = headers.get("content-length", "")
    if said.isascii() and said.isdigit() and int(said) > max_bytes:
        raise too_large(max_bytes)


class _Answer:
    """What goes back, with the security headers. What an application says after a body was cut off is withheld."""

    def __init__(self, send: Send, body: BodyLimit, *, is_secure: bool) -> None:
        self._send = send
        self._body = body
        self._is_secure = is_secure
        self.has_begun = False

    async def send(self, message: Message) -> None:
        if self._body.exceeded is None or self.has_begun:
            await self.send_own(message)

    async def send_own(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._add_headers(message)
        self.has_begun = True
        await self._send(message)

    def _add_headers(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        for name, value in SECURITY_HEADERS.items():
            headers[name] = value
        for name, value in DEFAULT_HEADERS.items():
            headers.setdefault(name, value)
        if self._is_secure:
            headers["Strict-Transport-Security"] = HSTS


def asked_of(scope: Scope) -> Asked:
    client: Any = scope.get("client")
    method = scope.get("method", "WEBSOCKET")
    state = scope.get("state", {})
    return Asked(
        f"{method} {scope['path']}", client[0] if client else "", str(state.get("request_id", ""))
    )
