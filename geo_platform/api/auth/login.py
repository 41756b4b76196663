"""Browser sign-in: the pages `/login` and `/logout`, and the session cookie.

The page has no script. A form is accepted only when the browser's Origin header names this host,
so that no other site can sign somebody in under another name.

The cookie is encrypted and valid on this host for GEO_PLATFORM_API_SESSION_HOURS. It holds the
credential itself, so that revoking the key, or the token's expiry, ends the session. It works for
Dagster's pages and the map, for `/api`, and for reading what is published. `SameSite=Strict` keeps
it out of other sites' requests; a request that can change something must also name this host as its
origin.

`authentication.py` checks the credential, `problems.py` makes problem documents.

    <home>/api/session.secret    mode 0600, if GEO_PLATFORM_API_SESSION_SECRET is not set

Called by `api/app.py`, `api/dagster/proxy.py` and `guard.py`.
"""

import base64
import hashlib
import os
import secrets
from html import escape
from pathlib import Path
from secrets import token_urlsafe
from urllib.parse import parse_qs, quote, urlsplit

from cryptography.fernet import Fernet, InvalidToken
from fastapi import APIRouter, Request
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, cookie_parser
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from geo_platform.api.auth.audit import audit
from geo_platform.api.auth.authentication import Authenticator
from geo_platform.api.auth.limits import RateLimits
from geo_platform.api.problems import problem_response
from geo_platform.errors import ParameterInvalid, PlatformError, Unauthenticated
from geo_platform.settings import Settings
from geo_platform.storage.local.atomic import ensure_folder, os_errors, process_lock

# Browsers accept a cookie with this prefix only with Secure, without Domain and for the path `/`.
COOKIE = "__Host-geo_platform"

# Browsers keep at most 4096 characters of name and value.
COOKIE_MAX_CHARACTERS = 4000

BROWSER_PATHS = ("/dagster", "/map")
# The map page reads these with the cookie, and submits below /api.
_READ_BY_PAGES = ("/stac", "/raster", "/features")
_USED_BY_PAGES = ("/api",)
_READING_METHODS = frozenset({"GET", "HEAD"})


class Sessions:
    """Encrypts and decrypts session cookies."""

    def __init__(self, secret: str, hours: float) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()))
        self._seconds = int(hours * 3600)

    def encrypted(self, credential: str) -> str:
        """Return the value of the cookie that holds this credential, encrypted.

        Raises ParameterInvalid: the value is too long for a browser.
        """
        value = self._fernet.encrypt(credential.encode()).decode()
        if len(value) > COOKIE_MAX_CHARACTERS:
            raise ParameterInvalid(
                "The token is too long for a cookie.", remedy="Sign in with an API key."
            )
        return value

    def applies(self, scope: Scope, headers: Headers) -> bool:
        """Return whether a browser page sent this, with the cookie as its only credential."""
        has_other = "authorization" in headers or "x-api-key" in headers
        path = scope["path"]
        is_of_page = _is_below(path, (*BROWSER_PATHS, *_USED_BY_PAGES)) or (
            _is_below(path, _READ_BY_PAGES) and not can_change(scope)
        )
        return is_of_page and not has_other and COOKIE in _cookies(headers)

    def credential_in(self, scope: Scope, headers: Headers) -> str:
        """Return the credential in the cookie.

        Raises Unauthenticated: the cookie expired or is not from this platform, or another site may
        have made the request.
        """
        if can_change(scope) and not is_same_origin(headers):
            raise Unauthenticated(
                "The request comes from another site.", reason="cookie: not of this origin"
            )
        try:
            return self._fernet.decrypt(_cookies(headers)[COOKIE], ttl=self._seconds).decode()
        except InvalidToken:
            raise Unauthenticated(
                "The session has expired.", reason="cookie: expired or not ours"
            ) from None

    def set_cookie(self, value: str) -> str:
        """Return the Set-Cookie header. An empty value deletes the cookie."""
        age = self._seconds if value else 0
        return f"{COOKIE}={value}; Max-Age={age}; Path=/; Secure; HttpOnly; SameSite=Strict"


def open_sessions(settings: Settings) -> Sessions:
    """Return the sessions of this home.

    Raises StoreDenied, StoreUnavailable: the file of the secret cannot be read or written.
    ParameterInvalid: the file holds no secret.
    """
    configured = settings.api_session_secret
    secret = (
        configured.get_secret_value()
        if configured is not None
        else _stored_secret(settings.api_keys_file.with_name("session.secret"))
    )
    return Sessions(secret, settings.api_session_hours)


def is_browser_path(path: str) -> bool:
    """Return whether this is a page for browsers."""
    return _is_below(path, BROWSER_PATHS)


def _is_below(path: str, bases: tuple[str, ...]) -> bool:
    return any(path == base or path.startswith(f"{base}/") for base in bases)


def can_change(scope: Scope) -> bool:
    """Return whether the request can change something.

    A WebSocket can: mutations go through it, and browsers let any site open one.
    """
    return scope["type"] == "websocket" or scope["method"] not in _READING_METHODS


def is_same_origin(headers: Headers) -> bool:
    """Return whether the Origin header names this host. A page cannot forge that header."""
    origin, host = urlsplit(headers.get("origin", "")), headers.get("host", "")
    return bool(host) and origin.scheme in ("http", "https") and origin.netloc == host


def _cookies(headers: Headers) -> dict[str, str]:
    return cookie_parser(headers.get("cookie", ""))


def _stored_secret(path: Path) -> str:
    """Return the secret in the file. The first call creates the file."""
    with (
        os_errors(f"The session secret {path}"),
        process_lock(ensure_folder(path.parent) / ".session.lock"),
    ):
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(32))
        secret = path.read_text("ascii").strip()
    if len(secret) < 32:
        raise ParameterInvalid(
            f"{path} does not hold a secret.", remedy="Remove the file; a new one is made."
        )
    return secret


FORM_MAX_BYTES = 64 * 1024
_START_PAGE = "/dagster/"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:12vh auto;padding:0 1rem;"
    "color:#1c2530;background:#fff}"
    "h1{font-size:1.3rem}label{display:block;margin:1rem 0 .3rem}"
    "input{width:100%;box-sizing:border-box;font:inherit;padding:.55rem;"
    "border:1px solid #8a97a6;border-radius:4px}"
    "button{margin-top:1rem;font:inherit;padding:.55rem 1.2rem;border:0;border-radius:4px;"
    "background:#1d5fa8;color:#fff}p.fault{color:#a11}p{color:#51606f}"
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sign in - geo_platform</title><style nonce="{nonce}">{style}</style></head>
<body><h1>Sign in to geo_platform</h1>{fault}
<form method="post" action="/login"><input type="hidden" name="next" value="{next}">
<label for="credential">API key or access token</label>
<input id="credential" name="credential" type="password" autocomplete="off" required autofocus>
<button>Sign in</button></form>
<p>Create a key with <code>geo-platform keys create NAME --scope reader</code>.</p></body></html>
"""

router = APIRouter(include_in_schema=False)


@router.get("/login")
async def show(request: Request) -> Response:
    return login_page(request.query_params.get("next", _START_PAGE))


@router.post("/login")
async def sign_in(request: Request) -> Response:
    """Set the cookie and redirect, or show the page again with the error."""
    form = parse_qs((await _body(request)).decode("utf-8", "replace"), keep_blank_values=True)
    next_url, credential = (
        form.get("next", [_START_PAGE])[0],
        form.get("credential", [""])[0].strip(),
    )
    state, address = request.app.state, request.client.host if request.client else ""
    limits: RateLimits = state.limits
    sessions: Sessions = state.sessions
    authenticator: Authenticator = state.authenticator
    try:
        await limits.check_failures(address)
        _check_origin(request)
        principal = await authenticator.principal_with(credential)
        cookie = sessions.set_cookie(sessions.encrypted(credential))
    except PlatformError as error:
        if isinstance(error, Unauthenticated):
            await limits.count_failure(address)
        audit("", allowed=False, reason=str(error.details.get("reason", error.code)))
        return login_page(
            next_url, fault=error.message, status=401 if isinstance(error, Unauthenticated) else 403
        )
    audit(principal.subject, allowed=True, reason="signed in")
    return RedirectResponse(_local_url(next_url), status_code=303, headers={"Set-Cookie": cookie})


@router.post("/logout")
async def sign_out(request: Request) -> Response:
    sessions: Sessions = request.app.state.sessions
    _check_origin(request)
    return RedirectResponse(
        "/login", status_code=303, headers={"Set-Cookie": sessions.set_cookie("")}
    )


def refusal_response(error: PlatformError, connection: HTTPConnection) -> Response:
    """Return the problem document of the error.

    A browser that opens one of Dagster's pages without a credential gets the sign-in page instead,
    with the same status and headers.
    """
    response = problem_response(error, connection)
    accept = connection.headers.get("accept", "")
    opens_page = connection.scope.get("method") == "GET" and "text/html" in accept
    if isinstance(error, Unauthenticated) and opens_page and is_browser_path(connection.url.path):
        query = f"?{connection.url.query}" if connection.url.query else ""
        fault = "" if error.details.get("is_missing") else error.message
        headers = {"WWW-Authenticate": response.headers["WWW-Authenticate"]}
        return login_page(
            connection.url.path + query, fault=fault, status=response.status_code, headers=headers
        )
    return response


def login_page(
    next_url: str, *, fault: str = "", status: int = 200, headers: dict[str, str] | None = None
) -> HTMLResponse:
    """Return the sign-in page.

    The page's Content-Security-Policy forbids it to load anything or to send its form elsewhere.
    """
    nonce = token_urlsafe(16)
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    alert = f'<p class="fault" role="alert">{escape(fault)}</p>' if fault else ""
    page = _PAGE.format(nonce=nonce, style=_STYLE, fault=alert, next=escape(_local_url(next_url)))
    return HTMLResponse(
        page, status_code=status, headers={"Content-Security-Policy": policy, **(headers or {})}
    )


def _local_url(url: str) -> str:
    """Return `url` if it is one of Dagster's pages on this host, else the start page.

    The caller chooses `url`, so that anything else would be an open redirect.
    """
    path = url.partition("?")[0].partition("#")[0]
    is_local = is_browser_path(path) and url.isprintable() and url.isascii() and "\\" not in url
    return quote(url, safe="/?&=:@!$'()*+,;~%#-._") if is_local else _START_PAGE


def _check_origin(request: Request) -> None:
    if not is_same_origin(request.headers):
        raise Unauthenticated(
            "The form was not sent by this page.", reason="sign-in: not of this origin"
        )


async def _body(request: Request) -> bytes:
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > FORM_MAX_BYTES:
            break
    return bytes(content[:FORM_MAX_BYTES])
