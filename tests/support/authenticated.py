"""A small application behind the API's authentication, with routes and keys for every scope."""

import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Body, FastAPI, Request, WebSocket

from geo_platform.api.auth import login
from geo_platform.api.auth.authentication import (
    Operator,
    Reader,
    Submitter,
    check_container,
    check_dataset,
)
from geo_platform.api.auth.guard import guard
from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.principal import Scope
from geo_platform.api.dagster.proxy import DagsterProxy
from geo_platform.api.jobs.uploads import upload_routes
from geo_platform.api.problems import answer_with_problems
from geo_platform.api.request_ids import RequestIds
from geo_platform.settings import Settings
from geo_platform.storage.stores import open_objects
from tests.support.serving import served


@dataclass
class ProtectedApi:
    """`keys` holds one key per scope, by its name, and `limited`: a submitter's, restricted."""

    address: str
    settings: Settings
    keys: Mapping[str, str]
    client: httpx.Client
    reached: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, key: str | None = None, **rest: Any) -> httpx.Response:
        """Send a request with the key of a scope."""
        headers = {**({"X-Api-Key": self.keys[key]} if key else {}), **rest.pop("headers", {})}
        return self.client.request(method, f"{self.address}{path}", headers=headers, **rest)


def make_keys(settings: Settings) -> dict[str, str]:
    file = KeyFile(settings.api_keys_file)
    made = {scope.value: file.create(scope.value, scope) for scope in Scope}
    return {
        **made,
        "limited": file.create(
            "limited", Scope.operator, containers=("silver",), datasets=("flood_*",)
        ),
    }


def protected_application(settings: Settings, reached: list[str]) -> FastAPI:
    """Build the application; each route appends its name to `reached`."""
    proxy = DagsterProxy(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await proxy.close()
        await app.state.authenticator.close()

    app = FastAPI(docs_url=None, redoc_url=None, lifespan=lifespan)
    app.include_router(login.router)
    answer_with_problems(app)

    @app.get("/livez")
    async def livez() -> str:
        return "ok"

    @app.get("/forgotten")
    async def forgotten(request: Request) -> str:
        reached.append("forgotten")
        return "anything"

    @app.get("/read")
    async def read(principal: Reader) -> str:
        reached.append("read")
        return principal.subject

    @app.post("/submit")
    async def submit(principal: Submitter, body: Annotated[dict[str, Any], Body()]) -> str:
        check_container(principal, str(body.get("container", "silver")))
        check_dataset(principal, str(body.get("dataset", "flood_1")))
        reached.append("submit")
        return principal.subject

    @app.post("/operate")
    async def operate(principal: Operator) -> str:
        reached.append("operate")
        return principal.subject

    @app.get("/breaks")
    async def breaks(principal: Reader) -> str:
        raise RuntimeError("an internal secret")

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        reached.append("socket")
        await websocket.accept()

    app.include_router(upload_routes(settings, open_objects(settings)))
    app.mount("/dagster", proxy)
    guard(app, settings)
    app.add_middleware(RequestIds)
    return app


@contextmanager
def protected_api(home: Path, **settings: Any) -> Iterator[ProtectedApi]:
    """Serve the application until the context ends."""
    known = Settings(**{"home": home, **settings})
    reached: list[str] = []
    keys = make_keys(known)
    with (
        served(protected_application(known, reached)) as address,
        httpx.Client(timeout=60) as client,
    ):
        yield ProtectedApi(address, known, keys, client, reached)


def audit_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the audit log's entries so far."""
    return [
        json.loads(record.getMessage())
        for record in caplog.records
        if record.name == "geo_platform.audit"
    ]


def listen(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "geo_platform.audit")
