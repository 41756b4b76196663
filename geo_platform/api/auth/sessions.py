"""Browser sessions: an encrypted cookie that carries the credential.

The cookie is valid on this host for GEO_PLATFORM_API_SESSION_HOURS. It holds the credential
itself, so that revoking the key, or the token's expiry, ends the session. It works for Dagster's
pages only, never for `/api`. `SameSite=Strict` keeps it out of other sites' requests; a request
that can change something must also name this host as its origin. `login.py` has the sign-in page.

    <home>/api/session.secret    mode 0600, if GEO_PLATFORM_API_SESSION_SECRET is not set
"""

import base64
import hashlib
import os
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.fernet import Fernet, InvalidToken
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from geo_platform.errors import ParameterInvalid, Unauthenticated
from geo_platform.settings import Settings
from geo_platform.storage.local.atomic import os_errors, own_folder, process_lock

# Browsers accept a cookie with this prefix only with Secure, without Domain and for the path `/`.
COOKIE = "__Host-geo_platform"

# Browsers keep at most 4096 characters of name and value.
COOKIE_MAX_CHARACTERS = 4000

BROWSER_PATHS = ("/dagster",)
_SAFE = frozenset({"GET", "HEAD"})


class Sessions:
    """Encrypts and decrypts session cookies."""

    def __init__(self, secret: str, hours: float) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()))
        self._seconds = int(hours * 3600)

    def sealed(self, credential: str) -> str:
        """Return the cookie's value. Raises ParameterInvalid when it is too long for a browser."""
        value = self._fernet.encrypt(credential.encode()).decode()
        if len(value) > COOKIE_MAX_CHARACTERS:
            raise ParameterInvalid(
                "The token is too long for a cookie.", remedy="Sign in with an API key."
            )
        return value

    def applies(self, scope: Scope, headers: Headers) -> bool:
        """Return whether this is a browser page whose only credential is the cookie."""
        has_other = "authorization" in headers or "x-api-key" in headers
        return is_browser_path(scope["path"]) and not has_other and COOKIE in _cookies(headers)

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
    """Return the sessions of this home. Raises StoreDenied, StoreUnavailable."""
    given = settings.api_session_secret
    secret = (
        given.get_secret_value()
        if given is not None
        else _kept_secret(settings.api_keys_file.with_name("session.secret"))
    )
    return Sessions(secret, settings.api_session_hours)


def is_browser_path(path: str) -> bool:
    """Return whether the cookie works for this path."""
    return any(path == base or path.startswith(f"{base}/") for base in BROWSER_PATHS)


def can_change(scope: Scope) -> bool:
    """Return whether the request can change something.

    A WebSocket can: mutations go through it, and browsers let any site open one.
    """
    return scope["type"] == "websocket" or scope["method"] not in _SAFE


def is_same_origin(headers: Headers) -> bool:
    """Return whether the Origin header names this host. A page cannot forge that header."""
    origin, host = urlsplit(headers.get("origin", "")), headers.get("host", "")
    return bool(host) and origin.scheme in ("http", "https") and origin.netloc == host


def _cookies(headers: Headers) -> dict[str, str]:
    return cookie_parser(headers.get("cookie", ""))


def _kept_secret(path: Path) -> str:
    """Return the secret in the file, made at the first call."""
    with (
        os_errors(f"The session secret {path}"),
        process_lock(own_folder(path.parent) / ".session.lock"),
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
