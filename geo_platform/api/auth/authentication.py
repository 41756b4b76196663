"""The lock: which credential a request carries, whose it is, and whether that is enough.

    from geo_platform.api.auth.authentication import require
    principal: Annotated[Principal, Depends(require(Scope.submitter))]

What belongs here: identifying, and the decisions on scope and allow-lists, each with its audit line. What stays out: what makes a token
(`oidc.py`) or a key (`keys.py`) good; where in a request the lock stands (`guard.py`: before every route, so that a
route which forgets `require` still answers nobody who is not known).
"""

from collections.abc import Awaitable, Callable, Mapping
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
# Where in a request's state the guard puts whom it let in.
PRINCIPAL = "geo_platform_principal"

_BEARER = HTTPBearer(auto_error=False, description="An OIDC access token, or an API key.")
# For the OpenAPI document alone: the guard has looked already.
_KEY = APIKeyHeader(
    name="X-Api-Key", auto_error=False, description="An API key of `geo-platform keys create`."
)


class Lock:
    """The credentials that open it. Safe among the tasks of one event loop."""

    def __init__(self, keys: KeyFile, verifier: TokenVerifier | None = None) -> None:
        self._keys = keys
        self._verifier = verifier

    async def principal_of(self, headers: Headers) -> Principal:
        """Whose credential the headers carry. Raises Unauthenticated, and StoreUnavailable where a token's issuer cannot be asked."""
        return await self.principal_with(credential_in(headers))

    async def principal_with(self, credential: str) -> Principal:
        """As `principal_of`, of a credential that was found elsewhere."""
        if credential.startswith(KEY_PREFIX):
            return self._keys.principal_of(credential)
        if self._verifier is None:
            raise Unauthenticated(
                "There is no such API key.", reason="no key, and no issuer of tokens is set"
            )
        return await self._verifier.principal_of(credential)

    async def close(self) -> None:
        if self._verifier is not None:
            await self._verifier.close()


def open_lock(settings: Settings) -> Lock:
    """Raises ParameterInvalid where nothing could open it, so that nothing is ever served open."""
    keys, verifier = KeyFile(settings.api_keys_file), open_verifier(settings)
    if verifier is None and not keys.names():
        raise ParameterInvalid(
            "No credential is configured, and the HTTP face is never served without one.",
            remedy="Make a key with: geo-platform keys create NAME --scope operator. Or set GEO_PLATFORM_API_OIDC_ISSUER and "
            "GEO_PLATFORM_API_OIDC_AUDIENCE.",
        )
    return Lock(keys, verifier)


def credential_in(headers: Headers) -> str:
    """The one credential. Raises Unauthenticated where there is none, or more than one: which is meant would be a guess."""
    found = [value.strip() for value in headers.getlist(KEY_HEADER)]
    for value in headers.getlist("authorization"):
        scheme, _, credential = value.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated(
                "The Authorization header is no bearer token.", reason="scheme of Authorization"
            )
        found.append(credential.strip())
    if not any(found):
        raise Unauthenticated(
            "The request carries no credential.", reason="no credential", is_missing=True
        )
    if len(found) > 1:
        raise Unauthenticated(
            "The request carries more than one credential.", reason="more than one credential"
        )
    return found[0]


def require(scope: Scope) -> Callable[..., Awaitable[Principal]]:
    """A dependency that hands out who asks. Raises Forbidden where their scope is too little."""

    async def principal(
        request: Request,
        _bearer: Annotated[object, Security(_BEARER)] = None,
        _key: Annotated[object, Security(_KEY)] = None,
    ) -> Principal:
        known = principal_let_in(request.scope)
        demand_scope(known, scope)
        return known

    return principal


def principal_let_in(scope: Mapping[str, Any]) -> Principal:
    """Whom the guard let in. Raises Unauthenticated where no guard stands before the application: closed, not open."""
    known = scope.get("state", {}).get(PRINCIPAL)
    if not isinstance(known, Principal):
        audit("", allowed=False, reason="no guard stands before this application")
        raise Unauthenticated("Nobody was let in.", reason="no guard")
    return known


def demand_scope(principal: Principal, scope: Scope) -> None:
    """Raises Forbidden where the principal's scope is too little; writes the audit line either way."""
    if not principal.holds(scope):
        audit(principal.subject, allowed=False, scope=scope, reason=f"has scope {principal.scope}")
        raise Forbidden(
            f"This needs the scope {scope}, and {principal.subject} has {principal.scope}."
        )
    audit(principal.subject, allowed=True, scope=scope, reason=f"has scope {principal.scope}")


def demand_container(principal: Principal, container: str) -> None:
    """Raises Forbidden where the container is not on the principal's allow-list."""
    if not principal.may_read_container(container):
        audit(principal.subject, allowed=False, reason=f"container {container!r} is not allowed")
        raise Forbidden(f"{principal.subject} may not use the container {container!r}.")


def demand_dataset(principal: Principal, dataset: str) -> None:
    """Raises Forbidden where the dataset is not on the principal's allow-list."""
    if not principal.may_write_dataset(dataset):
        audit(principal.subject, allowed=False, reason=f"dataset {dataset!r} is not allowed")
        raise Forbidden(f"{principal.subject} may not write the dataset {dataset!r}.")


Reader = Annotated[Principal, Depends(require(Scope.reader))]
Submitter = Annotated[Principal, Depends(require(Scope.submitter))]
# For the signatures of routes.
Operator = Annotated[Principal, Depends(require(Scope.operator))]
