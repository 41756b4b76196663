"""Authenticate the caller of a request and check its scope and allow-lists.

    from geo_platform.api.auth.authentication import require
    principal: Annotated[Principal, Depends(require(Scope.submitter))]

Each decision writes an audit line. `guard.py` authenticates before every route, so that a route
without `require` still refuses unknown callers. `oidc.py` verifies tokens, `keys.py` API keys.

Used throughout the application.
"""

from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.datastructures import Headers

from geo_platform.api.auth.audit import audit
from geo_platform.api.auth.keys import KEY_PREFIX, KeyFile
from geo_platform.api.auth.oidc import TokenVerifier, open_verifier
from geo_platform.api.auth.principal import Principal, Scope
from geo_platform.errors import Forbidden, ParameterInvalid, Unauthenticated
from geo_platform.settings import Settings

KEY_HEADER = "x-api-key"
# Key under which the guard stores the principal in the request's state.
PRINCIPAL = "geo_platform_principal"

_BEARER = HTTPBearer(auto_error=False, description="An OIDC access token, or an API key.")
# Only for the OpenAPI document: the guard has already checked the credential.
_KEY = APIKeyHeader(
    name="X-Api-Key", auto_error=False, description="An API key of `geo-platform keys create`."
)


class Authenticator:
    """Checks API keys and tokens. Safe among the tasks of one event loop."""

    def __init__(self, keys: KeyFile, verifier: TokenVerifier | None = None) -> None:
        self._keys = keys
        self._verifier = verifier

    async def principal_of(self, headers: Headers) -> Principal:
        """Return the principal whose credential the headers carry.

        Raises Unauthenticated: the headers do not carry exactly one valid credential. Forbidden:
        the token has no scope of this platform. StoreUnavailable: the token issuer does not answer.
        StoreDenied: the file of keys cannot be used.
        """
        return await self.principal_with(credential_in(headers))

    async def principal_with(self, credential: str) -> Principal:
        """Return the principal of an API key or a token.

        Raises Unauthenticated: the credential is not valid. Forbidden: the token has no scope of
        this platform. StoreUnavailable: the token issuer does not answer. StoreDenied: the file of
        keys cannot be used.
        """
        if credential.startswith(KEY_PREFIX):
            return self._keys.principal_of(credential)
        if self._verifier is None:
            raise Unauthenticated(
                "There is no such API key.", reason="not a key, and no token issuer is configured"
            )
        return await self._verifier.principal_of(credential)

    async def close(self) -> None:
        """Close the connection to the token issuer."""
        if self._verifier is not None:
            await self._verifier.close()


def open_authenticator(settings: Settings) -> Authenticator:
    """Return the authenticator of the configured keys and token issuer.

    Raises ParameterInvalid when neither a valid key nor an issuer exists, so that the API is never
    served without authentication.
    """
    keys, verifier = KeyFile(settings.api_keys_file), open_verifier(settings)
    if verifier is None and not keys.names():
        raise ParameterInvalid(
            "No credential is configured, and the HTTP API is never served without one.",
            remedy="Create a key with: geo-platform keys create NAME --scope operator. "
            "Or set GEO_PLATFORM_API_OIDC_ISSUER and GEO_PLATFORM_API_OIDC_AUDIENCE.",
        )
    return Authenticator(keys, verifier)


def credential_in(headers: Headers) -> str:
    """Return the credential of the request: an API key or a token.

    It is the value of X-Api-Key, the bearer token, or the password of HTTP Basic (RFC 7617), which
    programs such as QGIS 3.22 send where they cannot send other headers. The user name is ignored.
    Raises Unauthenticated: the request has no credential, or several. With several, choosing one of
    them would be a guess.
    """
    found = [value.strip() for value in headers.getlist(KEY_HEADER)]
    for value in headers.getlist("authorization"):
        scheme, _, credential = value.partition(" ")
        if scheme.lower() == "basic":
            found.append(_password_in(credential))
        elif scheme.lower() == "bearer":
            found.append(credential.strip())
        else:
            raise Unauthenticated(
                "The Authorization header is neither a bearer token nor a user and a password.",
                reason="scheme of Authorization",
            )
    if not any(found):
        raise Unauthenticated(
            "The request carries no credential.", reason="no credential", is_missing=True
        )
    if len(found) > 1:
        raise Unauthenticated(
            "The request carries more than one credential.", reason="more than one credential"
        )
    return found[0]


def _password_in(credential: str) -> str:
    """Return the password of a user name and a password, base64 of `user:password`.

    Raises Unauthenticated: it is not of this form.
    """
    try:
        _, colon, password = b64decode(credential.strip(), validate=True).decode().partition(":")
    except ValueError:
        colon = password = ""
    if not colon or not password:
        raise Unauthenticated(
            "The Authorization header has no password.",
            remedy="Send an API key as the password of HTTP Basic, with any user name.",
            reason="Basic without a password",
        )
    return password


def require(scope: Scope) -> Callable[..., Awaitable[Principal]]:
    """Return a FastAPI dependency that returns the principal of the request.

    The dependency raises Forbidden: the principal does not have `scope`.
    """

    async def principal(
        request: Request,
        _bearer: Annotated[object, Security(_BEARER)] = None,
        _key: Annotated[object, Security(_KEY)] = None,
    ) -> Principal:
        caller = authenticated_principal(request.scope)
        check_scope(caller, scope)
        return caller

    return principal


def authenticated_principal(scope: Mapping[str, Any]) -> Principal:
    """Return the principal that the guard stored in the ASGI scope.

    Raises Unauthenticated when the application runs without the guard.
    """
    principal = scope.get("state", {}).get(PRINCIPAL)
    if not isinstance(principal, Principal):
        audit("", allowed=False, reason="the application runs without its guard")
        raise Unauthenticated("The request was not authenticated.", reason="no guard")
    return principal


def check_scope(principal: Principal, scope: Scope) -> None:
    """Check the principal's scope and write the audit line.

    Raises Forbidden: the principal does not have `scope`.
    """
    if not principal.has_scope(scope):
        audit(principal.subject, allowed=False, scope=scope, reason=f"has scope {principal.scope}")
        raise Forbidden(f"This needs the scope {scope}; {principal.subject} has {principal.scope}.")
    audit(principal.subject, allowed=True, scope=scope, reason=f"has scope {principal.scope}")


def check_container(principal: Principal, container: str) -> None:
    """Raise Forbidden if the principal's allow-list does not name the container."""
    if not principal.may_read_container(container):
        audit(principal.subject, allowed=False, reason=f"container {container!r} is not allowed")
        raise Forbidden(f"{principal.subject} may not use the container {container!r}.")


def check_dataset(principal: Principal, dataset: str) -> None:
    """Raise Forbidden if the principal's allow-list does not name the dataset."""
    if not principal.may_write_dataset(dataset):
        audit(principal.subject, allowed=False, reason=f"dataset {dataset!r} is not allowed")
        raise Forbidden(f"{principal.subject} may not write the dataset {dataset!r}.")


def check_collections(principal: Principal, collections: Iterable[str]) -> None:
    """Raise Forbidden if the principal's allow-list does not name each of the collections."""
    for collection in collections:
        if not principal.may_use_collection(collection):
            audit(
                principal.subject,
                allowed=False,
                reason=f"collection {collection!r} is not allowed",
            )
            raise Forbidden(f"{principal.subject} may not use the collection {collection!r}.")


# For the signatures of routes.
Reader = Annotated[Principal, Depends(require(Scope.reader))]
Submitter = Annotated[Principal, Depends(require(Scope.submitter))]
Operator = Annotated[Principal, Depends(require(Scope.operator))]
