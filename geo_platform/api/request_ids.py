"""The ids of a request: its own, and those by which the client knows it; accepted, kept for the request, and echoed.

What belongs here: the outermost layer of the application, so that a refusal of the lock has its id too. What stays out: what an id
may be (`runs.py`).
"""

from collections.abc import Mapping
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geo_platform.runs import CORRELATION_TAG, TRACEPARENT_TAG, ClientIds, client_ids_of

REQUEST_ID = "request_id"
# Where in a request's state they are.
CLIENT_IDS = "geo_platform_client_ids"

_HEADERS = {CORRELATION_TAG: "x-correlation-id", TRACEPARENT_TAG: "traceparent"}


class RequestIds:
    """ASGI: gives each request an id, and its answer the headers `X-Request-Id`, `X-Correlation-Id` and `traceparent`.

    What a client sends and is no id is ignored, as W3C asks, and not echoed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id, client = uuid4().hex, client_ids_in(Headers(scope=scope))
        state = scope.setdefault("state", {})
        state[REQUEST_ID], state[CLIENT_IDS] = request_id, client

        async def echoed(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                if client.correlation_id:
                    headers["X-Correlation-Id"] = client.correlation_id
                if client.traceparent:
                    headers["traceparent"] = client.traceparent
            await send(message)

        await self._app(scope, receive, echoed)


def client_ids_in(headers: Mapping[str, str]) -> ClientIds:
    """What the client calls its request."""
    return client_ids_of({tag: headers[name] for tag, name in _HEADERS.items() if name in headers})


def request_id_of(connection: HTTPConnection) -> str:
    """The id of the request; a new one where this layer was left out."""
    return str(connection.scope.get("state", {}).get(REQUEST_ID) or uuid4().hex)


def client_ids_of_request(connection: HTTPConnection) -> ClientIds:
    found = connection.scope.get("state", {}).get(CLIENT_IDS)
    return found if isinstance(found, ClientIds) else ClientIds()
