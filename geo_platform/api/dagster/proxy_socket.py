"""Relay the WebSocket of Dagster's pages (subprotocol graphql-ws), message by message.

The credential is checked only when the WebSocket is opened. A WebSocket is therefore closed after
OPEN_MAX_S. Dagster's pages then open a new WebSocket, and its credential is checked. `proxy.py`
handles HTTP.

Called by `proxy.py`.
"""

import asyncio
import json
from contextlib import suppress
from typing import Any

import httpx
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Subprotocol

from geo_platform.api.auth.authentication import check_scope
from geo_platform.api.auth.principal import Principal
from geo_platform.api.auth.principal import Scope as AccessScope
from geo_platform.api.dagster.graphql_gate import check_read_only, checked_request
from geo_platform.errors import NotFound, ParameterInvalid, PlatformError, StoreUnavailable

PATH = "/dagster/graphql"
PROTOCOL = Subprotocol("graphql-ws")
OPEN_MAX_S = 15 * 60
# From a client.
MESSAGE_MAX_BYTES = 1024**2
# From Dagster. The first message about a run has all of its events so far.
SERVER_MESSAGE_MAX_BYTES = 64 * 1024**2

_CONNECTION_MESSAGES = ("connection_init", "connection_terminate")


async def relay(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    principal: Principal,
    upstream: httpx.URL,
    path: str,
) -> None:
    """Relay messages until one side closes the WebSocket, at most for OPEN_MAX_S.

    Before the WebSocket is accepted, raises NotFound: another path. ParameterInvalid: the client
    does not offer PROTOCOL. Forbidden: the principal may not read. StoreUnavailable: Dagster's
    webserver does not open a WebSocket.
    """
    if path != PATH:
        raise NotFound(f"There is no WebSocket at {path}.")
    if PROTOCOL not in scope.get("subprotocols", []):
        raise ParameterInvalid(
            f"The WebSocket does not offer the subprotocol {PROTOCOL}.",
            remedy=f"Request {PROTOCOL}.",
        )
    check_scope(principal, AccessScope.reader)
    address = upstream.copy_with(
        scheme="wss" if upstream.scheme == "https" else "ws", raw_path=PATH.encode()
    )
    connection = connect(
        str(address),
        subprotocols=[PROTOCOL],
        max_size=SERVER_MESSAGE_MAX_BYTES,
        open_timeout=10,
        proxy=None,
    )
    try:
        server = await connection
    except (OSError, WebSocketException, TimeoutError) as error:
        raise StoreUnavailable(
            f"Dagster's webserver does not open a WebSocket: {type(error).__name__}."
        ) from error
    client = WebSocket(scope, receive, send)
    async with server:
        await client.accept(subprotocol=PROTOCOL)
        await _relay_until_closed(client, server, principal)
        if (
            client.application_state is WebSocketState.CONNECTED
            and client.client_state is WebSocketState.CONNECTED
        ):
            # The client may disconnect at the same moment.
            with suppress(RuntimeError, WebSocketDisconnect):
                await client.close()


async def _relay_until_closed(
    client: WebSocket, server: ClientConnection, principal: Principal
) -> None:
    tasks = {
        asyncio.create_task(_relay_to_server(client, server, principal)),
        asyncio.create_task(_relay_to_client(server, client)),
    }
    try:
        await asyncio.wait(tasks, timeout=OPEN_MAX_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


async def _relay_to_server(
    client: WebSocket, server: ClientConnection, principal: Principal
) -> None:
    with suppress(ConnectionClosed, WebSocketDisconnect):
        while True:
            text = await client.receive_text()
            try:
                await server.send(json.dumps(forwarded_message(text, principal)))
            except PlatformError as error:
                await client.send_json(
                    {"type": "error", "id": _id_of(text), "payload": {"message": str(error)}}
                )


async def _relay_to_client(server: ClientConnection, client: WebSocket) -> None:
    with suppress(ConnectionClosed, WebSocketDisconnect, RuntimeError):
        async for message in server:
            await client.send_text(message if isinstance(message, str) else message.decode())


def forwarded_message(text: str, principal: Principal) -> dict[str, Any]:
    """Return the client's message for Dagster, rebuilt from the parsed message.

    Raises ParameterInvalid: the text is not a message of the protocol. Forbidden: the message has a
    mutation, and the principal does not have the scope operator.
    """
    if len(text) > MESSAGE_MAX_BYTES:
        raise ParameterInvalid("The message is too long.")
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        raise ParameterInvalid("The message is not JSON.") from None
    kind = message.get("type") if isinstance(message, dict) else None
    if kind in _CONNECTION_MESSAGES:
        return {"type": kind, "payload": {}}
    if kind not in ("start", "stop") or not isinstance(message.get("id"), str | int):
        raise ParameterInvalid("The message has a type that the protocol does not define.")
    if kind == "stop":
        return {"type": kind, "id": message["id"]}
    request = checked_request(message.get("payload"))
    if not principal.has_scope(AccessScope.operator):
        check_read_only(request, principal.subject)
    # The webserver reads `operation_name`, although the protocol has `operationName`.
    return {
        "type": kind,
        "id": message["id"],
        "payload": {**request, "operation_name": request["operationName"]},
    }


def _id_of(text: str) -> str | int | None:
    with suppress(ValueError, RecursionError, AttributeError):
        identifier = json.loads(text).get("id")
        return identifier if isinstance(identifier, str | int) else None
    return None
