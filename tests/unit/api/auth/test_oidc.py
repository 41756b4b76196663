"""Which OIDC tokens are accepted, tested against an issuer that serves its keys over HTTP."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from jwt.algorithms import RSAAlgorithm

from geo_platform.api.auth.oidc import (
    REFETCH_AFTER_S,
    RETRY_AFTER_S,
    Jwks,
    TokenVerifier,
    open_verifier,
    principal_of_claims,
    usable_keys,
)
from geo_platform.api.auth.principal import Principal, Scope
from geo_platform.errors import (
    Forbidden,
    ParameterInvalid,
    PlatformError,
    StoreUnavailable,
    Unauthenticated,
)
from geo_platform.settings import Settings
from tests.support.tokens import AUDIENCE, JWKS_PATH, Issuer, issuing, public_pem, rsa_key

HOUR_S = 3600


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as one:
        yield one


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


def outcomes(
    issuer: Issuer, *tokens: str, url: str | None = None
) -> list[Principal | PlatformError]:
    """Return what one verifier answers to each token in turn."""

    async def all_of_them() -> list[Principal | PlatformError]:
        verifier = TokenVerifier(
            Jwks(issuer.address, url), issuer=issuer.address, audience=AUDIENCE
        )
        try:
            return [await outcome(verifier, token) for token in tokens]
        finally:
            await verifier.close()

    return asyncio.run(all_of_them())


async def outcome(verifier: TokenVerifier, token: str) -> Principal | PlatformError:
    try:
        return await verifier.principal_of(token)
    except PlatformError as error:
        return error


def refusal(issuer: Issuer, token: str) -> str:
    """Return the reason in the audit log: the client sees none of it."""
    (found,) = outcomes(issuer, token)
    assert isinstance(found, Unauthenticated)
    assert found.message == "The token is not valid."
    return str(found.details["reason"])


@pytest.mark.parametrize("url", ["discovered", "given"])
def test_a_valid_token_gives_its_subject_and_scope(issuer: Issuer, url: str) -> None:
    given = issuer.jwks_url if url == "given" else None
    (found,) = outcomes(issuer, issuer.token(scp="submitter"), url=given)
    assert found == Principal("oid:7f0c8f5e-0000-4000-8000-000000000001", Scope.submitter)
    assert (
        issuer.requests == [JWKS_PATH]
        if given
        else ["/.well-known/openid-configuration", JWKS_PATH]
    )


@pytest.mark.parametrize(
    ("key", "algorithm"), [("first", "RS512"), ("first", "PS256"), ("elliptic", "ES256")]
)
def test_every_allowed_algorithm_is_accepted(issuer: Issuer, key: str, algorithm: str) -> None:
    issuer.published.append("elliptic")
    (found,) = outcomes(issuer, issuer.token(key, algorithm=algorithm))
    assert isinstance(found, Principal)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"iss": "https://login.microsoftonline.com/other/v2.0"}, "InvalidIssuerError"),
        ({"aud": "api://another"}, "InvalidAudienceError"),
        ({"exp": 1}, "ExpiredSignatureError"),
        ({"nbf": 2**33}, "ImmatureSignatureError"),
        ({"iat": 2**33}, "ImmatureSignatureError"),
        ({"exp": None}, "MissingRequiredClaimError"),
        ({"iss": None}, "MissingRequiredClaimError"),
        ({"aud": None}, "MissingRequiredClaimError"),
        ({"sub": None}, "MissingRequiredClaimError"),
    ],
    ids=lambda value: str(value),
)
def test_an_invalid_claim_is_refused(issuer: Issuer, changed: dict[str, Any], reason: str) -> None:
    assert refusal(issuer, issuer.token(**changed)) == f"token: {reason}"


def test_a_signature_by_another_key_is_refused(issuer: Issuer) -> None:
    assert (
        refusal(issuer, issuer.token("second", headers={"kid": "first"}))
        == "token: InvalidSignatureError"
    )


def test_a_changed_claim_invalidates_the_signature(issuer: Issuer) -> None:
    head, _, signature = issuer.token().split(".")
    body = _part(issuer.claims(scp="operator"))
    assert refusal(issuer, f"{head}.{body}.{signature}") == "token: InvalidSignatureError"


@pytest.mark.parametrize("written", ["none", "None", "nOnE", ""])
def test_an_unsigned_token_is_refused_without_fetching_keys(issuer: Issuer, written: str) -> None:
    token = f"{_part({'alg': written, 'typ': 'JWT', 'kid': 'first'})}.{_part(issuer.claims())}."
    assert refusal(issuer, token) == "token: the algorithm is not allowed"
    assert issuer.requests == []


def test_a_token_signed_with_the_public_key_as_a_shared_secret_is_refused(issuer: Issuer) -> None:
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'first'})}.{_part(issuer.claims())}"
    signature = hmac.new(public_pem("first"), signed.encode(), hashlib.sha256).digest()
    assert (
        refusal(issuer, f"{signed}.{_encoded(signature)}") == "token: the algorithm is not allowed"
    )


def test_an_algorithm_for_another_type_of_key_is_refused(issuer: Issuer) -> None:
    issuer.published.append("elliptic")
    token = issuer.token("elliptic", algorithm="ES256", headers={"kid": "first"})
    assert refusal(issuer, token) == "token: the algorithm is not the key's"


def test_a_key_url_in_a_token_is_never_fetched(issuer: Issuer) -> None:
    with issuing() as stranger:
        stranger.published = ["strange"]
        own = {
            "jku": stranger.jwks_url,
            "x5u": stranger.jwks_url,
            "jwk": stranger.documents()[JWKS_PATH]["keys"][0],
        }
        assert refusal(issuer, issuer.token("strange", headers=own)) == "token: no such key"
        assert stranger.requests == []


@pytest.mark.parametrize(
    "token", ["", "x", "a.b.c", "é.é.é", "..", "A" * 20_000, "eyJhbGciOiJSUzI1NiJ9.e30.AA"]
)
def test_text_that_is_no_token_is_refused_without_fetching_keys(issuer: Issuer, token: str) -> None:
    assert refusal(issuer, token).startswith("token: ")
    assert issuer.requests == []


def test_a_token_without_a_known_scope_has_no_permission(issuer: Issuer) -> None:
    for changed in (
        {"scp": None},
        {"scp": "User.Read"},
        {"scp": "readers operators"},
        {"scp": 7},
        {"scp": None, "roles": {"operator": 1}},
    ):
        (found,) = outcomes(issuer, issuer.token(**changed))
        assert isinstance(found, Forbidden)


@pytest.mark.parametrize(
    ("claims", "scope"),
    [
        ({"scp": "reader submitter"}, Scope.submitter),
        ({"scope": "openid operator"}, Scope.operator),
        ({"roles": ["reader", "operator"]}, Scope.operator),
        ({"scp": "operator", "roles": ["reader"]}, Scope.reader),
        ({"scp": "reader", "roles": ["operator"]}, Scope.reader),
        ({"scp": "operator", "roles": ["Other.Role"]}, Scope.operator),
    ],
)
def test_the_lower_permission_of_client_and_user_applies(
    claims: dict[str, Any], scope: Scope
) -> None:
    assert principal_of_claims({"sub": "who", **claims}) == Principal("sub:who", scope)


def test_roles_can_carry_allow_lists() -> None:
    found = principal_of_claims(
        {
            "sub": "who",
            "roles": ["submitter", "container:bronze", "dataset:flood_*", "collection:dem"],
        }
    )
    assert (found.containers, found.datasets) == (("bronze",), ("flood_*",))
    assert found.collections == ("dem",)


def test_a_rotated_key_is_accepted_and_the_old_one_refused(issuer: Issuer) -> None:
    clock = Clock()

    async def rotated() -> list[Principal | PlatformError]:
        verifier = TokenVerifier(
            Jwks(issuer.address, issuer.jwks_url, now_s=clock),
            issuer=issuer.address,
            audience=AUDIENCE,
        )
        try:
            found = [await outcome(verifier, issuer.token("first"))]
            issuer.published = ["second"]
            clock.now_s += REFETCH_AFTER_S
            found += [
                await outcome(verifier, issuer.token("second")),
                await outcome(verifier, issuer.token("first")),
            ]
            return found
        finally:
            await verifier.close()

    before, new, old = asyncio.run(rotated())
    assert isinstance(before, Principal)
    assert isinstance(new, Principal)
    assert isinstance(old, Unauthenticated)


def test_many_unknown_key_ids_at_once_fetch_the_keys_once(issuer: Issuer) -> None:
    clock = Clock()

    async def flood() -> None:
        keys = Jwks(issuer.address, issuer.jwks_url, now_s=clock)
        try:
            found = await asyncio.gather(*(keys.key(f"made-up-{number}") for number in range(300)))
            assert found == [None] * 300
            assert await keys.key("first") is not None
            assert issuer.requests == [JWKS_PATH]
            clock.now_s += REFETCH_AFTER_S
            await asyncio.gather(*(keys.key(f"made-up-{number}") for number in range(300)))
            assert issuer.requests == [JWKS_PATH] * 2
        finally:
            await keys.close()

    asyncio.run(flood())


def test_an_unavailable_issuer_is_reported_and_retried_soon(issuer: Issuer) -> None:
    clock = Clock()
    issuer.is_down = True

    async def down() -> None:
        keys = Jwks(issuer.address, issuer.jwks_url, now_s=clock)
        try:
            for _ in range(20):
                with pytest.raises(StoreUnavailable):
                    await keys.key("first")
            assert len(issuer.requests) == 1
            issuer.is_down = False
            clock.now_s += RETRY_AFTER_S
            assert await keys.key("first") is not None
        finally:
            await keys.close()

    asyncio.run(down())


def test_known_keys_are_accepted_for_a_day_while_the_issuer_is_down(issuer: Issuer) -> None:
    clock = Clock()

    async def down() -> None:
        keys = Jwks(issuer.address, issuer.jwks_url, now_s=clock)
        try:
            assert await keys.key("first") is not None
            issuer.is_down = True
            clock.now_s += 23 * HOUR_S
            assert await keys.key("first") is not None
            clock.now_s += 2 * HOUR_S
            with pytest.raises(StoreUnavailable):
                await keys.key("first")
        finally:
            await keys.close()

    asyncio.run(down())


def test_an_unreachable_key_url_is_unavailable_and_no_crash(issuer: Issuer) -> None:
    (found,) = outcomes(issuer, issuer.token(), url="http://127.0.0.1:9/keys")
    assert isinstance(found, StoreUnavailable)


def test_symmetric_short_private_and_encryption_keys_are_ignored() -> None:
    good = {"kty": "RSA", "kid": "good", **_numbers("first")}
    listed = [
        good,
        {**good, "kid": "encrypts", "use": "enc"},
        {**good, "kid": "private", "d": "AQAB"},
        {**good, "kid": "short", "n": _encoded((2**1023 + 1).to_bytes(128, "big"))},
        {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": "broken"},
        {"kty": "RSA", **_numbers("first")},
        {**good, "kid": "named", "alg": "RS256"},
        "nonsense",
    ]
    found = usable_keys({"keys": listed})
    assert {name: key.algorithms for name, key in found.items() if key.algorithms} == {
        "good": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
        "named": ("RS256",),
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"api_oidc_issuer": "https://issuer.example"},
        {"api_oidc_audience": "api://x"},
        {"api_oidc_issuer": "http://issuer.example", "api_oidc_audience": "api://x"},
        {"api_oidc_issuer": "file:///etc/passwd", "api_oidc_audience": "api://x"},
        {
            "api_oidc_issuer": "https://issuer.example",
            "api_oidc_audience": "api://x",
            "api_oidc_jwks_url": "http://issuer.example/keys",
        },
    ],
)
def test_an_issuer_without_audience_or_tls_is_refused_at_startup(
    settings: dict[str, Any],
) -> None:
    with pytest.raises(ParameterInvalid):
        open_verifier(Settings(**settings))


def _numbers(name: str) -> dict[str, str]:
    written: dict[str, str] = RSAAlgorithm.to_jwk(rsa_key(name).public_key(), as_dict=True)
    return {part: written[part] for part in ("n", "e")}


def _part(document: dict[str, Any]) -> str:
    return _encoded(json.dumps(document).encode())


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
