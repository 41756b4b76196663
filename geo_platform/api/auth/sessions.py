"""Signing in with a browser: a page that takes a credential, and the sealed cookie that stands for it afterwards.

What belongs here: the cookie, and which requests it may vouch for. What stays out: the page (`login.py`), whether a credential holds
(`lock.py`).

The cookie is the credential itself, sealed, so that it holds only here and only for GEO_PLATFORM_API_SESSION_HOURS, and so that a key
which was revoked or a token which expired ends the session with it. It vouches for Dagster's pages alone, never for `/api`.
`SameSite=Strict` keeps it from other sites' requests; beyond that, whatever could change something must name this very host as its origin.

    <home>/api/session.secret    mode 0600, where GEO_PLATFORM_API_SESSION_SECRET is not set
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

# With this prefix browsers take it only with Secure, for the whole host and from no other one.
COOKIE = "__Host-geo_platform"

# Browsers take 4096 for name and value.
COOKIE_MAX_CHARACTERS = 4000

BROWSER_PATHS = ("/dagster",)
_SAFE = frozenset({"GET", "HEAD"})


class Sessions:
    """Seals and opens cookies."""

    def __init__(self, secret: str, hours: float) -> None:
        self._fernet = Fernet(base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()))
        self._seconds = int(hours * 3600)

    def sealed(self, credential: str) -> str:
        """The cookie's value. Raises ParameterInvalid where no browser would keep it."""
        value = self._fernet.encrypt(credential.encode()).decode()
        if len(value) > COOKIE_MAX_CHARACTERS:
            raise ParameterInvalid(
                "The token is too long for a cookie.", remedy="Sign in with an API key."
            )
        return value

    def applies(self, scope: Scope, headers: Headers) -> bool:
        """Whether this request is a browser's that shows its cookie and no other credential."""
        has_other = "authorization" in headers or "x-api-key" in headers
        return is_browser_path(scope["path"]) and not has_other and COOKIE in _cookies(headers)

    def credential_in(self, scope: Scope, headers: Headers) -> str:
        """Raises Unauthenticated where the cookie is over or not ours, or where another site could have made the request."""
        if may_change(scope) and not is_same_origin(headers):
            raise Unauthenticated(
                "The request comes from another site.", reason="cookie: not of this origin"
            )
        try:
            return self._fernet.decrypt(_cookies(headers)[COOKIE], ttl=self._seconds).decode()
        except InvalidToken:
            raise Unauthenticated(
                "The sign-in is over.", reason="cookie: expired or not ours"
            ) from None

    def set_cookie(self, value: str) -> str:
        """The header that sets it; an empty value takes it away."""
        age = self._seconds if value else 0
        return f"{COOKIE}={value}; Max-Age={age}; Path=/; Secure; HttpOnly; SameSite=Strict"


def open_sessions(settings: Settings) -> Sessions:
    """Raises StoreDenied, StoreUnavailable where the home cannot keep the secret."""
    given = settings.api_session_secret
    secret = (
        given.get_secret_value()
        if given is not None
        else _kept_secret(settings.api_keys_file.with_name("session.secret"))
    )
    return Sessions(secret, settings.api_session_hours)


def is_browser_path(path: str) -> bool:
    return any(path == base or path.startswith(f"{base}/") for base in BROWSER_PATHS)


def may_change(scope: Scope) -> bool:
    """A socket too: mutations and subscriptions go through it, and browsers let any site open one."""
    return scope["type"] == "websocket" or scope["method"] not in _SAFE


def is_same_origin(headers: Headers) -> bool:
    """By what a browser itself says and no page can change. Without an Origin it is not."""
    origin, host = urlsplit(headers.get("origin", "")), headers.get("host", "")
    return bool(host) and origin.scheme in ("http", "https") and origin.netloc == host


def _cookies(headers: Headers) -> dict[str, str]:
    return cookie_parser(headers.get("cookie", ""))


def _kept_secret(path: Path) -> str:
    """Made once: whoever comes second reads it."""
    with (
        os_errors(f"The secret of sessions {path}"),
        process_lock(own_folder(path.parent) / ".session.lock"),
    ):
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(32))
        secret = path.read_text("ascii").strip()
    if len(secret) < 32:
        raise ParameterInvalid(f"{path} holds no secret.", remedy="Remove it: another is made.")
    return secret
