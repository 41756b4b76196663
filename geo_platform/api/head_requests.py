"""Answer HEAD on the routes of published data as GET, without the body (RFC 9110, section 9.3.2).

FastAPI's routes answer only the methods that they name. A route that answers HEAD itself keeps it:
a download, which reads nothing for it. A module of its own: it stands between the guard and the
routes.

Called by `app.py`.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from geo_platform.api.auth.guard import is_reading

_METHOD_NOT_ALLOWED = 405


class HeadRequests:
    """ASGI middleware. Sends HEAD to the routes first as it is, then as GET if none takes it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_reading(scope) or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        is_refused = False

        async def unless_refused(message: Message) -> None:
            nonlocal is_refused
            if message["type"] == "http.response.start":
                is_refused = message["status"] == _METHOD_NOT_ALLOWED
            if not is_refused:
                await send(message)

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app(dict(scope), receive, unless_refused)
        if is_refused:
            await self._app({**scope, "method": "GET"}, receive, without_body)
