"""Fetch and cache the token issuer's public keys (JWKS).

Keys are cached for an hour. An unknown key id triggers another fetch, since the issuer may have
rotated its keys; but at most one per REFETCH_AFTER_S, so that invented ids cannot flood it. While
the issuer does not answer, cached keys stay valid for a day. `oidc.py` verifies tokens.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from geo_platform.errors import StoreUnavailable

KEPT_S = 3600
# While the issuer does not answer.
KEPT_WITHOUT_ANSWER_S = 24 * 3600
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
    """A signature key. `algorithms` are those that it may be used with."""

    key: RSAPublicKey | EllipticCurvePublicKey
    algorithms: tuple[str, ...]


class Jwks:
    """The keys of one issuer, at `url` or at the address in its discovery document.

    `now_s` is a monotonic clock, in seconds.
    """

    def __init__(
        self, issuer: str, url: str | None = None, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer = issuer
        self._url = url
        self._now_s = now_s
        self._client = httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=True)
        self._one_at_a_time = asyncio.Lock()
        self._keys: dict[str, PublicKey] = {}
        self._fetched_s = float("-inf")
        self._not_before_s = float("-inf")

    async def key(self, key_id: str) -> PublicKey | None:
        """Return the key of this id, or None if the issuer has none.

        Raises StoreUnavailable when the issuer does not answer and no cached key is valid.
        """
        known = self._keys.get(key_id)
        if known is not None and self._now_s() - self._fetched_s < KEPT_S:
            return known
        async with self._one_at_a_time:
            # Another task may have fetched while this one waited.
            if self._now_s() >= self._not_before_s:
                await self._fetch()
        if self._now_s() - self._fetched_s > KEPT_WITHOUT_ANSWER_S:
            raise StoreUnavailable("The token issuer does not return its keys.", remedy=_REMEDY)
        return self._keys.get(key_id)

    async def close(self) -> None:
        """Close the connection to the issuer."""
        await self._client.aclose()

    async def _fetch(self) -> None:
        """Replace the cached keys. Keep them when the issuer does not answer."""
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
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise ValueError("the response has no list of keys")
    found = (
        (entry.get("kid"), _usable(entry))
        for entry in listed
        if isinstance(entry, dict) and entry.get("use", "sig") == "sig"
    )
    return {kid: key for kid, key in found if isinstance(kid, str) and key is not None}


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
        fitting: tuple[str, ...] = _RSA if key.key_size >= RSA_MIN_BITS else ()
    elif isinstance(key, EllipticCurvePublicKey):
        fitting = _CURVES.get(key.curve.name, ())
    else:
        return None
    named = entry.get("alg")
    return PublicKey(key, tuple(name for name in fitting if named in (None, name)))
