"""What a GraphQL request does, by its document and not by what it calls itself: whether it changes anything.

What belongs here: reading a request, and writing it anew. What stays out: HTTP and sockets (`proxy.py`, `proxy_socket.py`).

What goes on to Dagster is written anew from what was read here, so that the two can never read the same bytes differently.
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

# Of one document; the longest that Dagster's pages send have some thousands.
TOKENS_MAX = 20_000

_REMEDY = 'Send {"query": ..., "variables": ..., "operationName": ...} as application/json.'


def read_request(content: bytes) -> Mapping[str, Any]:
    """Query, variables and operation name of a request's body. Raises ParameterInvalid."""
    try:
        given = json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise ParameterInvalid("The GraphQL request is no JSON.", remedy=_REMEDY) from None
    return checked_request(given)


def checked_request(given: object) -> Mapping[str, Any]:
    """As `read_request`, of what is read already: exactly the three, each of its own type. Raises ParameterInvalid."""
    if not isinstance(given, dict) or not isinstance(given.get("query"), str):
        raise ParameterInvalid("The GraphQL request has no query.", remedy=_REMEDY)
    variables, name = (
        given.get("variables"),
        given.get("operationName", given.get("operation_name")),
    )
    if not isinstance(variables, dict | None) or not isinstance(name, str | None):
        raise ParameterInvalid(
            "The variables or the operation's name of the GraphQL request are of another type.",
            remedy=_REMEDY,
        )
    return {"query": given["query"], "variables": variables, "operationName": name}


def check_read_only(request: Mapping[str, Any], subject: str) -> None:
    """Raises Forbidden where any operation of the document is a mutation, whichever is meant to be executed; ParameterInvalid."""
    document = _document(request["query"])
    for definition in document.definitions:
        if (
            isinstance(definition, OperationDefinitionNode)
            and definition.operation is OperationType.MUTATION
        ):
            audit(subject, allowed=False, reason="a mutation of GraphQL needs the scope operator")
            raise Forbidden(f"{subject} may look at Dagster and change nothing.", remedy=_READ_ONLY)
        if not isinstance(definition, OperationDefinitionNode | FragmentDefinitionNode):
            raise ParameterInvalid(
                "The GraphQL document defines what is no operation.", remedy=_REMEDY
            )


_READ_ONLY = "Submit work through /api/jobs, or ask for the scope operator."


def _document(query: str) -> DocumentNode:
    try:
        return parse(query, no_location=True, max_tokens=TOKENS_MAX)
    except GraphQLError as error:
        raise ParameterInvalid(
            f"The GraphQL document cannot be read: {error.message}", remedy=_REMEDY
        ) from None
    except RecursionError:
        raise ParameterInvalid(
            "The GraphQL document is nested too deeply.", remedy=_REMEDY
        ) from None


def _no_number(name: str) -> None:
    raise ValueError(name)
