"""`geo-platform serve` starts the HTTP API; `geo-platform dev` starts the Dagster UI and daemon.

Called by `cli/main.py`.
"""

import logging
import os
import sys
from pathlib import Path

import click

from geo_platform.cli.application import Application
from geo_platform.process_start import frozen_imports

# Longer than clients and proxies keep an idle connection: a server that closes it first may do so
# while a request is under way. nginx keeps it for 60 seconds.
_KEEP_ALIVE_S = 75


@click.command("serve")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. Use 0.0.0.0, all addresses, only behind a proxy with TLS.",
)
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Port to listen on.",
)
@click.pass_obj
def serve(application: Application, host: str, port: int) -> None:
    """Serve the HTTP API: jobs, uploads and Dagster's pages, with one login.

    Dagster launches the runs, so start it too: `geo-platform dev` on this machine, or
    the files in deploy/. A job that is submitted while Dagster is unavailable is launched later.

    \b
    On one machine:
      geo-platform dev                               Dagster's webserver and daemon, on port 3000
      geo-platform keys create me --scope operator   an API key, printed only this once
      geo-platform serve                             this API, on port 8000

    \b
    Then:
      curl -H "X-Api-Key: KEY" -H "Content-Type: application/json" \\
           -d '{"blob_name": "dem.tif"}' http://127.0.0.1:8000/api/jobs/submit/process_raster
      curl -H "X-Api-Key: KEY" http://127.0.0.1:8000/api/jobs/status/JOB_ID
      curl -N -H "X-Api-Key: KEY" http://127.0.0.1:8000/api/jobs/JOB_ID/events   live progress
      curl http://127.0.0.1:8000/readyz                                          what is ready

    \b
    Settings: GEO_PLATFORM_DAGSTER_URL (http://127.0.0.1:3000), GEO_PLATFORM_API_OIDC_ISSUER and
    _AUDIENCE for tokens, GEO_PLATFORM_API_* for limits. docs/api.md has the routes; /openapi.json
    describes them all.
    """
    with frozen_imports():
        import uvicorn

        from geo_platform.api.app import create_app

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with frozen_imports():
        app = create_app(application.settings)
    click.echo(
        f"http://{host}:{port}  (data in {application.settings.home_dir}, "
        f"Dagster at {application.settings.dagster_url})\n"
        f"Map: http://{host}:{port}/map/",
        err=True,
    )
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
        timeout_keep_alive=_KEEP_ALIVE_S,
    )


@click.command("dev")
@click.option(
    "--port",
    default=3000,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Port of the UI, on this machine only.",
)
@click.pass_obj
def dev(application: Application, port: int) -> None:
    """Start the Dagster UI and its daemon on this home's data. Ctrl-C ends both."""
    with application.launcher():
        # Opening creates the instance's folder and settings, and ends runs of killed processes.
        pass
    os.chdir(application.root)
    command = [
        str(Path(sys.executable).with_name("dagster")),
        "dev",
        "-w",
        "workspace.yaml",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    click.echo(
        f"Dagster UI: http://127.0.0.1:{port}  (data in {application.settings.home_dir})", err=True
    )
    os.execv(command[0], command)  # noqa: S606  # a fixed command of this environment, no shell
