"""Compose the HTTP API: routes, middleware and their order.

create_app(settings) -> FastAPI

Called by `cli/commands/serve.py`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio.to_thread import run_sync
from fastapi import FastAPI

from geo_platform import __version__
from geo_platform.api import map_page
from geo_platform.api.auth import login
from geo_platform.api.auth.guard import guard
from geo_platform.api.dagster.proxy import PREFIX, DagsterProxy
from geo_platform.api.document import describe, operation_id
from geo_platform.api.head_requests import HeadRequests
from geo_platform.api.health import health_routes
from geo_platform.api.jobs.platform import platform_routes
from geo_platform.api.jobs.routes import job_routes
from geo_platform.api.jobs.uploads import upload_routes
from geo_platform.api.metrics import CountRequests
from geo_platform.api.problems import answer_with_problems
from geo_platform.api.request_ids import RequestIds
from geo_platform.api.services import Services
from geo_platform.api.serving.downloads import download_routes
from geo_platform.api.serving.features import feature_routes
from geo_platform.api.serving.freshness import answer_unchanged
from geo_platform.api.serving.raster import raster_routes
from geo_platform.api.serving.stac import stac_routes
from geo_platform.api.serving.vector_tiles import vector_tile_routes
from geo_platform.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """Return the application.

    Raises ParameterInvalid: no credential is configured. StoreDenied: a setting of a store is
    missing.
    """
    services, dagster = Services(settings), DagsterProxy(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services.start()
        try:
            yield
        finally:
            await run_sync(services.stop)
            await dagster.close()
            await app.state.authenticator.close()

    app = FastAPI(
        title="geo_platform",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=operation_id,
    )
    app.state.services = services
    answer_with_problems(app)
    answer_unchanged(app)
    for router in (
        job_routes(services),
        platform_routes(services),
        upload_routes(settings, services.objects),
        stac_routes(services),
        health_routes(services),
        download_routes(services),
        feature_routes(services),
        raster_routes(services),
        vector_tile_routes(services),
    ):
        app.include_router(router)
    app.include_router(login.router)
    app.include_router(map_page.router)
    app.mount(PREFIX, dagster)
    describe(app)
    app.add_middleware(HeadRequests)
    guard(app, settings, public=services.public.names)
    app.add_middleware(CountRequests, metrics=services.metrics)
    # Outermost, so that a refusal has a request id too.
    app.add_middleware(RequestIds)
    return app
