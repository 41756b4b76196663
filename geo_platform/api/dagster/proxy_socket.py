"""The socket of Dagster's pages: subscriptions over the protocol graphql-ws, message by message.

What belongs here: which messages pass, and for how long. What stays out: HTTP (`proxy.py`).

A socket outlives the request that opened it, and with it the look at the credential. So it is closed after OPEN_MAX_S; the pages open
another by themselves, which is looked at anew.
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
from geo_platform.api.auth.principal import Scope as Allowed
from geo_platform.api.dagster.graphql_gate import check_read_only, checked_request
from geo_platform.errors import NotFound, ParameterInvalid, PlatformError, StoreUnavailable

PATH = "/dagster/graphql"
PROTOCOL = Subprotocol("graphql-ws")
OPEN_MAX_S = 15 * 60
MESSAGE_MAX_BYTES = 1024**2
# A run's first events come in one message.
ANSWER_MAX_BYTES = 64 * 1024**2

_PLAIN = ("connection_init", "connection_terminate")


async def relay(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    principal: Principal,
    upstream: httpx.URL,
    path: str,
) -> None:
    """Until one side ends it. Raises, before it is accepted, NotFound, Forbidden, ParameterInvalid, StoreUnavailable."""
    if path != PATH:
        raise NotFound(f"There is no socket at {path}.")
    if PROTOCOL not in scope.get("subprotocols", []):
        raise ParameterInvalid(
            "The socket speaks another protocol.", remedy=f"Ask for the subprotocol {PROTOCOL}."
        )
    check_scope(principal, Allowed.reader)
    address = upstream.copy_with(
        scheme="wss" if upstream.scheme == "https" else "ws", raw_path=PATH.encode()
    )
    opening = connect(
        str(address),
        subprotocols=[PROTOCOL],
        max_size=ANSWER_MAX_BYTES,
        open_timeout=10,
        proxy=None,
    )
    try:
        server = await opening
    except (OSError, WebSocketException, TimeoutError) as error:
        raise StoreUnavailable(
            f"Dagster's webserver opens no socket: {type(error).__name__}."
        ) from error
    client = WebSocket(scope, receive, send)
    async with server:
        await client.accept(subprotocol=PROTOCOL)
        await _until_one_ends(client, server, principal)
        if (
            client.application_state is WebSocketState.CONNECTED
            and client.client_state is WebSocketState.CONNECTED
        ):
            with suppress(RuntimeError, WebSocketDisconnect):  # it went in this moment
                await client.close()


async def _until_one_ends(
    client: WebSocket, server: ClientConnection, principal: Principal
) -> None:
    tasks = {
        asyncio.create_task(_there(client, server, principal)),
        asyncio.create_task(_back(server, client)),
    }
    try:
        await asyncio.wait(tasks, timeout=OPEN_MAX_S, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in ended:
        if isinstance(outcome, Exception):
            raise outcome


async def _there(client: WebSocket, server: ClientConnection, principal: Principal) -> None:
    with suppress(ConnectionClosed, WebSocketDisconnect):
        while True:
            text = await client.receive_text()
            try:
                await server.send(json.dumps(passed_message(text, principal)))
            except PlatformError as error:
                await client.send_json(
                    {"type": "error", "id": _id_of(text), "payload": {"message": str(error)}}
                )


async def _back(server: ClientConnection, client: WebSocket) -> None:
    with suppress(ConnectionClosed, WebSocketDisconnect, RuntimeError):
        async for message in server:
            await client.send_text(message if isinstance(message, str) else message.decode())


def passed_message(text: str, principal: Principal) -> dict[str, Any]:
    """What goes on, written anew. Raises ParameterInvalid for what is no message, Forbidden for a mutation of whoever may only look."""
    if len(text) > MESSAGE_MAX_BYTES:
        raise ParameterInvalid("The message is too long.")
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        raise ParameterInvalid("The message is no JSON.") from None
    kind = given.get("type") if isinstance(given, dict) else None
    if kind in _PLAIN:
        return {"type": kind, "payload": {}}
    if kind not in ("start", "stop") or not isinstance(given.get("id"), str | int):
        raise ParameterInvalid("The message is of no kind that the protocol has.")
    if kind == "stop":
        return {"type": kind, "id": given["id"]}
    asked = checked_request(given.get("payload"))
    if not principal.holds(Allowed.operator):
        check_read_only(asked, principal.subject)
    # the webserver looks for the operation's name under another name than the protocol has
    return {
        "type": kind,
        "id": given["id"],
        "payload": {**asked, "operation_name": asked["operationName"]},
    }


def _id_of(text: str) -> str | int | None:
    with suppress(ValueError, RecursionError, AttributeError):
        identifier = json.loads(text).get("id")
        return identifier if isinstance(identifier, str | int) else None
    return None
