"""Verify OIDC access tokens and read scope and allow-lists from their claims.

A token is valid if a key that the issuer publishes now signed it, with an algorithm of ALGORITHMS
that fits the key, and if issuer, audience, expiry and not-before are right. Key locations that the
token itself names (`jku`, `x5u`, `jwk`) are never read. The keys are fetched in `jwks.py`.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import jwt

from geo_platform.api.auth.audit import audit
from geo_platform.api.auth.jwks import Jwks, PublicKey
from geo_platform.api.auth.principal import Principal, Scope
from geo_platform.errors import Forbidden, ParameterInvalid, Unauthenticated
from geo_platform.settings import Settings

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

    Raises ParameterInvalid: an issuer without an audience, or an address that is not https.
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
    assigned. With both, the lower scope applies. Roles of the form `container:NAME` and
    `dataset:PATTERN` are allow-lists.

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
    containers = tuple(
        role.removeprefix("container:") for role in roles if role.startswith("container:")
    )
    datasets = tuple(role.removeprefix("dataset:") for role in roles if role.startswith("dataset:"))
    return Principal(subject, min(granted, key=list(Scope).index), containers, datasets)


_NO_SCOPE = "Request a token with one of these scopes, or have one of these roles assigned."


def _names(claim: object) -> tuple[str, ...]:
    """Entra ID writes `scp` as one string and `roles` as a list."""
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
