"""OIDC access tokens: whether one holds, and whose it is.

What belongs here: claims, and what they mean for scope and allow-lists. What stays out: the issuer's keys (`jwks.py`).

A token is good where its signature is by a key that the issuer publishes now, with an algorithm of ALGORITHMS that fits the key's
own kind, and issuer, audience, expiry and not-before hold. What a token says of where its key lies (`jku`, `x5u`, `jwk`) is never read.
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

# Signatures by a key pair alone. `none` and HS* are not among them: what is public would be the
# secret.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")

# That two clocks may differ by.
LEEWAY_S = 30

TOKEN_MAX_CHARACTERS = 16 * 1024
_REQUIRED = ["exp", "iss", "aud", "sub"]


class TokenVerifier:
    """Of one issuer and audience. `keys` is where the issuer publishes its own."""

    def __init__(self, keys: Jwks, *, issuer: str, audience: str) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience

    async def principal_of(self, token: str) -> Principal:
        """Raises Unauthenticated, Forbidden (a good token without a scope of ours), StoreUnavailable (the issuer cannot be asked)."""
        algorithm, key_id = _header_of(token)
        key = await self._keys.key(key_id)
        if key is None:
            raise _refused("no such key")
        return principal_of_claims(self._claims(token, key, algorithm))

    async def close(self) -> None:
        await self._keys.close()

    def _claims(self, token: str, key: PublicKey, algorithm: str) -> dict[str, Any]:
        if algorithm not in key.algorithms:
            raise _refused("the algorithm is not the key's")
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
            raise _refused(type(error).__name__) from error


def open_verifier(settings: Settings) -> TokenVerifier | None:
    """None where no issuer is set. Raises ParameterInvalid where the settings do not fit together."""
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
            remedy="Set GEO_PLATFORM_API_OIDC_ISSUER and GEO_PLATFORM_API_OIDC_AUDIENCE, or neither.",
        )
    for address in filter(None, (issuer, jwks_url)):
        _check_address(address)
    return TokenVerifier(Jwks(issuer, jwks_url), issuer=issuer, audience=audience)


def principal_of_claims(claims: Mapping[str, Any]) -> Principal:
    """`scp` (or `scope`) is what the client may do for somebody, `roles` what is assigned to whom it acts for: with both, the lesser holds.

    Roles as `container:NAME` and `dataset:PATTERN` are allow-lists. Raises Forbidden where no scope of ours is among them.
    """
    subject = (
        f"oid:{claims['oid']}" if isinstance(claims.get("oid"), str) else f"sub:{claims['sub']}"
    )
    roles = _names(claims.get("roles"))
    given = [
        scope
        for names in (_names(claims.get("scp", claims.get("scope"))), roles)
        if (scope := _highest(names))
    ]
    if not given:
        audit(subject, allowed=False, reason="the token has no scope")
        raise Forbidden(
            "The token has none of the scopes reader, submitter, operator.", remedy=_NO_SCOPE
        )
    containers = tuple(
        role.removeprefix("container:") for role in roles if role.startswith("container:")
    )
    datasets = tuple(role.removeprefix("dataset:") for role in roles if role.startswith("dataset:"))
    return Principal(subject, min(given, key=list(Scope).index), containers, datasets)


_NO_SCOPE = "Ask for a token with one of these scopes, or to be assigned one of these roles."


def _names(claim: object) -> tuple[str, ...]:
    """Entra ID writes `scp` as one string and `roles` as a list."""
    if isinstance(claim, str):
        return tuple(claim.split())
    return tuple(name for name in claim if isinstance(name, str)) if isinstance(claim, list) else ()


def _highest(names: tuple[str, ...]) -> Scope | None:
    return max((scope for scope in Scope if scope in names), key=list(Scope).index, default=None)


def _header_of(token: str) -> tuple[str, str]:
    if len(token) > TOKEN_MAX_CHARACTERS:
        raise _refused("too long")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise _refused(type(error).__name__) from error
    algorithm, key_id = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise _refused("the algorithm is not allowed")
    if not isinstance(key_id, str) or not key_id:
        raise _refused("it names no key")
    return algorithm, key_id


def _refused(reason: str) -> Unauthenticated:
    return Unauthenticated("The token does not hold.", reason=f"token: {reason}")


def _check_address(address: str) -> None:
    """Keys that came by http would be anybody's; on this machine's own loopback there is nobody in between."""
    parts = urlsplit(address)
    if parts.scheme == "https" and parts.hostname and not parts.username:
        return
    if parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        return
    raise ParameterInvalid(
        f"The address {address!r} of the issuer of tokens is no https address.",
        remedy="Set GEO_PLATFORM_API_OIDC_ISSUER and GEO_PLATFORM_API_OIDC_JWKS_URL to addresses that begin with https://.",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
