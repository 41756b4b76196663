"""Generate a client from the served OpenAPI document, as users of another team would."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx

PACKAGE = "generated_geo_platform_client"


class GeneratedClient:
    """The generated package and its client with a credential."""

    def __init__(self, address: str, key: str) -> None:
        package = importlib.import_module(PACKAGE)
        self.own = package.AuthenticatedClient(
            base_url=address,
            token=key,
            prefix="",
            auth_header_name="X-Api-Key",
            httpx_args={"trust_env": False},
        )
        self.models = importlib.import_module(f"{PACKAGE}.models")

    def call(self, tag: str, operation: str, *path: str, **rest: Any) -> Any:
        """Call an operation; return the model of its response, whatever the status."""
        return self.module(tag, operation).sync(*path, client=self.own, **rest)

    @staticmethod
    def module(tag: str, operation: str) -> ModuleType:
        return importlib.import_module(f"{PACKAGE}.api.{tag}.{operation}")


# The generator knows neither type: it treats each as the other one.
KNOWN_AS = {
    "application/vnd.mapbox-vector-tile": "application/octet-stream",
    "application/xml": "text/plain",
}


@contextmanager
def generated_client(address: str, key: str, folder: Path) -> Iterator[GeneratedClient]:
    """Generate the client from the document served at this address.

    Fails if the generator leaves anything out.
    """
    document = folder / "openapi.json"
    document.write_bytes(
        httpx.get(f"{address}/openapi.json", headers={"X-Api-Key": key}, trust_env=False)
        .raise_for_status()
        .content
    )
    configuration = folder / "generator.json"
    configuration.write_text(json.dumps({"content_type_overrides": KNOWN_AS}), encoding="utf-8")
    programs = Path(sys.executable).parent
    command = [
        str(programs / "openapi-python-client"),
        "generate",
        "--config",
        str(configuration),
        "--path",
        str(document),
        "--output-path",
        str(folder / PACKAGE),
    ]
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
    }  # the generator formats its output with ruff
    done = subprocess.run(
        [*command, "--meta", "none", "--fail-on-warning"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    try:
        client = GeneratedClient(address, key)
        with client.own:
            yield client
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]
