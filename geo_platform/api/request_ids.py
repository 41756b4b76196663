"""Give each request an id, read the client's own ids, and echo them in the response.

This middleware runs first, so that a refused request has an id too. `runs.py` defines which ids of
a client are valid.

Called by `api/jobs/routes.py`, `app.py` and `problems.py`.
"""

from collections.abc import Mapping
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geo_platform.runs import CORRELATION_TAG, TRACEPARENT_TAG, ClientIds, client_ids_of

REQUEST_ID = "request_id"
# Key under which the client's ids are stored in the request's state.
CLIENT_IDS = "geo_platform_client_ids"

_HEADERS = {CORRELATION_TAG: "x-correlation-id", TRACEPARENT_TAG: "traceparent"}


class RequestIds:
    """ASGI middleware. Sets the headers `X-Request-Id`, `X-Correlation-Id` and `traceparent`.

    An invalid id of a client is ignored and not echoed, as W3C Trace Context requires.
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
    """Return the client's valid ids."""
    return client_ids_of({tag: headers[name] for tag, name in _HEADERS.items() if name in headers})


def request_id_of(connection: HTTPConnection) -> str:
    """Return the id of the request, or a new one if this middleware did not run."""
    return str(connection.scope.get("state", {}).get(REQUEST_ID) or uuid4().hex)


def client_ids_of_request(connection: HTTPConnection) -> ClientIds:
    """Return the client's ids that this middleware stored; empty ones if it did not run."""
    client_ids = connection.scope.get("state", {}).get(CLIENT_IDS)
    return client_ids if isinstance(client_ids, ClientIds) else ClientIds()
