"""Verify OIDC access tokens and read scope and allow-lists from their claims.

A token is valid if a key that the issuer publishes now signed it, with an algorithm of ALGORITHMS
that fits the key, and if issuer, audience, expiry and not-before are right. Key locations that the
token itself names (`jku`, `x5u`, `jwk`) are never read.

The issuer's keys (JWKS) are cached for an hour. An unknown key id triggers another fetch, since the
issuer may have rotated its keys. There is at most one fetch per REFETCH_AFTER_S, so that invented
ids cannot flood the issuer. While the issuer does not answer, cached keys stay valid for a day.

Called by `authentication.py`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from geo_platform.api.auth.audit import audit
from geo_platform.api.auth.principal import Principal, Scope
from geo_platform.errors import Forbidden, ParameterInvalid, StoreUnavailable, Unauthenticated
from geo_platform.settings import Settings

KEYS_VALID_S = 3600
# The same while the issuer does not answer.
KEYS_VALID_OFFLINE_S = 24 * 3600
REFETCH_AFTER_S = 30
# After a fetch that failed.
RETRY_AFTER_S = 5

ANSWER_MAX_BYTES = 1024**2
RSA_MIN_BITS = 2048
_TIMEOUT_S = 5
_CURVES = {"secp256r1": ("ES256",), "secp384r1": ("ES384",), "secp521r1": ("ES512",)}
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_REMEDY = "Check that this host can reach GEO_PLATFORM_API_OIDC_ISSUER. API keys still work."
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublicKey:
    """A signature key, and the `algorithms` that may be used with this key."""

    key: RSAPublicKey | EllipticCurvePublicKey
    algorithms: tuple[str, ...]


class Jwks:
    """The keys of one issuer, fetched from `url`, or from the URL in its discovery document.

    `now_s` is a monotonic clock, in seconds.
    """

    def __init__(
        self, issuer: str, url: str | None = None, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer = issuer
        self._url = url
        self._now_s = now_s
        self._client = httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=True)
        self._fetch_lock = asyncio.Lock()
        self._keys: dict[str, PublicKey] = {}
        self._fetched_s = float("-inf")
        self._not_before_s = float("-inf")

    async def key(self, key_id: str) -> PublicKey | None:
        """Return the key of this id, or None if the issuer has none.

        Raises StoreUnavailable when the issuer does not answer and no cached key is valid.
        """
        cached_key = self._keys.get(key_id)
        if cached_key is not None and self._now_s() - self._fetched_s < KEYS_VALID_S:
            return cached_key
        async with self._fetch_lock:
            # Another task may have fetched the keys while this task waited.
            if self._now_s() >= self._not_before_s:
                await self._fetch()
        if self._now_s() - self._fetched_s > KEYS_VALID_OFFLINE_S:
            raise StoreUnavailable("The token issuer does not return its keys.", remedy=_REMEDY)
        return self._keys.get(key_id)

    async def close(self) -> None:
        """Close the connection to the issuer."""
        await self._client.aclose()

    async def _fetch(self) -> None:
        """Replace the cached keys. If the issuer does not answer, keep them."""
        try:
            url = self._url or await self._discovered()
            self._keys = usable_keys(await self._document(url))
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            _log.warning(
                "Cannot fetch the keys of the token issuer: %s: %s",
                type(error).__name__,
                error,
            )
            self._not_before_s = self._now_s() + RETRY_AFTER_S
            return
        self._fetched_s = self._now_s()
        self._not_before_s = self._fetched_s + REFETCH_AFTER_S

    async def _discovered(self) -> str:
        document = await self._document(
            f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        )
        url = document.get("jwks_uri")
        if document.get("issuer") != self._issuer or not isinstance(url, str):
            raise ValueError("the discovery document is of another issuer, or has no jwks_uri")
        if httpx.URL(url).scheme != "https" and httpx.URL(self._issuer).scheme == "https":
            raise ValueError("the jwks_uri of the discovery document is not https")
        return url

    async def _document(self, url: str) -> dict[str, Any]:
        async with self._client.stream(
            "GET", url, headers={"Accept": "application/json"}
        ) as answer:
            if answer.status_code != 200:
                raise ValueError(f"status {answer.status_code}")
            content = bytearray()
            async for part in answer.aiter_bytes():
                content += part
                if len(content) > ANSWER_MAX_BYTES:
                    raise ValueError("the response is too long")
        document = httpx.Response(200, content=bytes(content)).json()
        if not isinstance(document, dict):
            raise ValueError("the response is not a JSON object")
        return document


def usable_keys(document: dict[str, Any]) -> dict[str, PublicKey]:
    """Return RSA and elliptic-curve signature keys by key id.

    Symmetric keys, RSA keys under RSA_MIN_BITS and unknown kinds are skipped.

    Raises ValueError: the document has no list of keys.
    """
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise ValueError("the response has no list of keys")
    keys = (
        (entry.get("kid"), _usable(entry))
        for entry in entries
        if isinstance(entry, dict) and entry.get("use", "sig") == "sig"
    )
    return {kid: key for kid, key in keys if isinstance(kid, str) and key is not None}


def _usable(entry: dict[str, Any]) -> PublicKey | None:
    if entry.get("kty") not in ("RSA", "EC") or "d" in entry:
        return None
    try:
        key = jwt.PyJWK.from_dict(
            {name: value for name, value in entry.items() if name != "alg"}
        ).key
    except jwt.PyJWTError:
        return None  # a kind of key that this version of PyJWT does not know
    if isinstance(key, RSAPublicKey):
        key_algorithms: tuple[str, ...] = _RSA if key.key_size >= RSA_MIN_BITS else ()
    elif isinstance(key, EllipticCurvePublicKey):
        key_algorithms = _CURVES.get(key.curve.name, ())
    else:
        return None
    declared = entry.get("alg")
    return PublicKey(key, tuple(name for name in key_algorithms if declared in (None, name)))


# Asymmetric signatures only. With HS*, the issuer's public key would be the shared secret.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")

# Allowed clock difference between the issuer and this host.
LEEWAY_S = 30

TOKEN_MAX_CHARACTERS = 16 * 1024
_REQUIRED = ["exp", "iss", "aud", "sub"]


class TokenVerifier:
    """Verifies tokens of one issuer and audience against the issuer's `keys`."""

    def __init__(self, keys: Jwks, *, issuer: str, audience: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience

    async def principal_of(self, token: str) -> Principal:
        """Return the principal of a token.

        Raises Unauthenticated: the token is not valid. Forbidden: it has no scope of this platform.
        StoreUnavailable: the issuer cannot be reached.
        """
        algorithm, key_id = _header_of(token)
        key = await self._keys.key(key_id)
        if key is None:
            raise _invalid("no such key")
        return principal_of_claims(self._claims(token, key, algorithm))

    async def close(self) -> None:
        """Close the connection to the issuer."""
        await self._keys.close()

    def _claims(self, token: str, key: PublicKey, algorithm: str) -> dict[str, Any]:
        if algorithm not in key.algorithms:
            raise _invalid("the algorithm is not the key's")
        try:
            return jwt.decode(
                token,
                key=key.key,
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": _REQUIRED},
            )
        except jwt.PyJWTError as error:
            raise _invalid(type(error).__name__) from error


def open_verifier(settings: Settings) -> TokenVerifier | None:
    """Return the verifier of the configured issuer, or None if none is configured.

    Raises ParameterInvalid: only one of issuer and audience is set, or an address is not https.
    """
    issuer, audience, jwks_url = (
        settings.api_oidc_issuer,
        settings.api_oidc_audience,
        settings.api_oidc_jwks_url,
    )
    if issuer is None and audience is None and jwks_url is None:
        return None
    if not issuer or not audience:
        raise ParameterInvalid(
            "Tokens need both an issuer and an audience.",
            remedy="Set both GEO_PLATFORM_API_OIDC_ISSUER and _AUDIENCE, or neither.",
        )
    for address in filter(None, (issuer, jwks_url)):
        _check_address(address)
    return TokenVerifier(Jwks(issuer, jwks_url), issuer=issuer, audience=audience)


def principal_of_claims(claims: Mapping[str, Any]) -> Principal:
    """Return the principal that the claims of a verified token describe.

    `scp` (or `scope`) is what the client may do for the user; `roles` is what the user was
    assigned. With both, the lower scope applies. Roles of the form `container:NAME`,
    `dataset:PATTERN` and `collection:PATTERN` are allow-lists.

    Raises Forbidden: neither claim has a scope of this platform.
    """
    subject = (
        f"oid:{claims['oid']}" if isinstance(claims.get("oid"), str) else f"sub:{claims['sub']}"
    )
    roles = _names(claims.get("roles"))
    granted = [
        scope
        for names in (_names(claims.get("scp", claims.get("scope"))), roles)
        if (scope := _highest(names))
    ]
    if not granted:
        audit(subject, allowed=False, reason="the token has no scope")
        raise Forbidden(
            "The token has none of the scopes reader, submitter, operator.", remedy=_NO_SCOPE
        )
    allowed = (_patterns(roles, kind) for kind in ("container", "dataset", "collection"))
    return Principal(subject, min(granted, key=list(Scope).index), *allowed)


def _patterns(roles: tuple[str, ...], kind: str) -> tuple[str, ...]:
    return tuple(role.removeprefix(f"{kind}:") for role in roles if role.startswith(f"{kind}:"))


_NO_SCOPE = "Request a token with one of these scopes, or have one of these roles assigned."


def _names(claim: object) -> tuple[str, ...]:
    """Return the names in a claim. Entra ID writes `scp` as one string and `roles` as a list."""
    if isinstance(claim, str):
        return tuple(claim.split())
    return tuple(name for name in claim if isinstance(name, str)) if isinstance(claim, list) else ()


def _highest(names: tuple[str, ...]) -> Scope | None:
    return max((scope for scope in Scope if scope in names), key=list(Scope).index, default=None)


def _header_of(token: str) -> tuple[str, str]:
    if len(token) > TOKEN_MAX_CHARACTERS:
        raise _invalid("too long")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise _invalid(type(error).__name__) from error
    algorithm, key_id = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise _invalid("the algorithm is not allowed")
    if not isinstance(key_id, str) or not key_id:
        raise _invalid("it names no key")
    return algorithm, key_id


def _invalid(reason: str) -> Unauthenticated:
    return Unauthenticated("The token is not valid.", reason=f"token: {reason}")


def _check_address(address: str) -> None:
    """Require https, so that nobody can replace the keys on the way. Loopback may use http."""
    parts = urlsplit(address)
    if parts.scheme == "https" and parts.hostname and not parts.username:
        return
    if parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        return
    raise ParameterInvalid(
        f"The address {address!r} of the token issuer is not an https address.",
        remedy="Set GEO_PLATFORM_API_OIDC_ISSUER and GEO_PLATFORM_API_OIDC_JWKS_URL to addresses "
        "that begin with https://.",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
