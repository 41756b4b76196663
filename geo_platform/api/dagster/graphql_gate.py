"""Parse GraphQL requests and decide from the document whether they change anything.

`proxy.py` and `proxy_socket.py` never forward the client's bytes. They serialise the parsed request
again, so that this check and Dagster cannot interpret the same bytes differently.

Called by `proxy.py` and `proxy_socket.py`.
"""

import json
from collections.abc import Mapping
from typing import Any

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    parse,
)

from geo_platform.api.auth.audit import audit
from geo_platform.errors import Forbidden, ParameterInvalid

# Limit for one document. The longest that Dagster's pages send have a few thousand tokens.
TOKENS_MAX = 20_000

_REMEDY = 'Send {"query": ..., "variables": ..., "operationName": ...} as application/json.'


def read_request(content: bytes) -> Mapping[str, Any]:
    """Return query, variables and operation name of a request body.

    Raises ParameterInvalid: the body is not JSON or not a GraphQL request.
    """
    try:
        request = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise ParameterInvalid("The GraphQL request is not JSON.", remedy=_REMEDY) from None
    return checked_request(request)


def checked_request(request: object) -> Mapping[str, Any]:
    """Return query, variables and operation name of a decoded request.

    Raises ParameterInvalid: the value is not a GraphQL request.
    """
    if not isinstance(request, dict) or not isinstance(request.get("query"), str):
        raise ParameterInvalid("The GraphQL request has no query.", remedy=_REMEDY)
    variables, name = (
        request.get("variables"),
        request.get("operationName", request.get("operation_name")),
    )
    if not isinstance(variables, dict | None) or not isinstance(name, str | None):
        raise ParameterInvalid(
            "The GraphQL request has variables or an operation name of a wrong type.",
            remedy=_REMEDY,
        )
    return {"query": request["query"], "variables": variables, "operationName": name}


def check_read_only(request: Mapping[str, Any], subject: str) -> None:
    """Refuse a document in which any operation is a mutation, whichever is executed.

    Raises Forbidden: the document has a mutation. ParameterInvalid: the document cannot be parsed.
    """
    document = _document(request["query"])
    for definition in document.definitions:
        if (
            isinstance(definition, OperationDefinitionNode)
            and definition.operation is OperationType.MUTATION
        ):
            audit(subject, allowed=False, reason="a GraphQL mutation needs the scope operator")
            raise Forbidden(f"{subject} may not change anything in Dagster.", remedy=_READ_ONLY)
        if not isinstance(definition, OperationDefinitionNode | FragmentDefinitionNode):
            raise ParameterInvalid(
                "The GraphQL document defines something other than operations.", remedy=_REMEDY
            )


_READ_ONLY = "Submit jobs through /api/jobs, or request the scope operator."


def _document(query: str) -> DocumentNode:
    try:
        return parse(query, no_location=True, max_tokens=TOKENS_MAX)
    except GraphQLError as error:
        raise ParameterInvalid(
            f"The GraphQL document cannot be parsed: {error.message}", remedy=_REMEDY
        ) from None
    except RecursionError:
        raise ParameterInvalid(
            "The GraphQL document is nested too deeply.", remedy=_REMEDY
        ) from None


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
