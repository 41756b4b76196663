"""Run the HTTP API in this process in front of a real Dagster, on either profile."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import httpx

from geo_platform.api.app import create_app
from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.principal import Scope
from geo_platform.api.services import Services
from geo_platform.cli.application import INSTANCE_TEMPLATES
from geo_platform.ports import BRONZE
from geo_platform.settings import Profile, Settings
from tests.support.command import ROOT
from tests.support.legacy_client import LegacyClient
from tests.support.own_dagster import CODE, DAEMON, WEBSERVER, OwnDagster, own_dagster
from tests.support.production import ProfileUnderTest
from tests.support.serving import served
from tests.support.watching import watching_nothing

_ON_FILES = ProfileUnderTest(Profile.embedded, {})


@dataclass
class ApiStack:
    """The running API and Dagster. `keys` holds one API key per scope, by the scope's name."""

    address: str
    settings: Settings
    keys: Mapping[str, str]
    dagster: OwnDagster
    services: Services
    profile: ProfileUnderTest = _ON_FILES
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60, trust_env=False))

    def ask(self, method: str, path: str, key: str = "operator", **rest: Any) -> httpx.Response:
        """Send a request with the key of a scope."""
        headers = {**({"X-Api-Key": self.keys[key]} if key else {}), **rest.pop("headers", {})}
        return self.client.request(method, f"{self.address}{path}", headers=headers, **rest)

    def legacy(self, key: str = "submitter") -> LegacyClient:
        return LegacyClient(self.address, {"X-Api-Key": self.keys[key]})

    def put(self, key: str, content: bytes | Path) -> None:
        content = content.read_bytes() if isinstance(content, Path) else content
        self.services.objects.put_bytes(BRONZE, key, content, metadata={})

    def runs(self, **tags: str) -> list[Any]:
        """Return the runs with these tags, newest first."""
        return list(self.services.dagster.runs(tags=tags, limit=100))

    def wait(self, holds: Callable[[], Any], *, patience_s: float = 60) -> Any:
        deadline = time.monotonic() + patience_s
        while not (value := holds()):
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.2)
        return value


@contextmanager
def api_stack(
    folder: Path, profile: ProfileUnderTest = _ON_FILES, **settings: Any
) -> Iterator[ApiStack]:
    """Run all of it, without sensors that start runs themselves."""
    home = folder / "home"
    (home / "logs").mkdir(parents=True)
    template = Template((ROOT / INSTANCE_TEMPLATES[profile.profile]).read_text("utf-8"))
    configuration = template.substitute(LOG_FILE=home / "logs" / "platform.jsonl")
    environment = {
        **profile.environment,
        "GEO_PLATFORM_HOME": str(home),
        "HOME": str(home),
        **watching_nothing(folder),
    }
    with own_dagster(profile.settings(home).dagster_home_dir, configuration, environment) as own:
        own.start(CODE, WEBSERVER, DAEMON)
        with http_api(home, own, profile, **settings) as stack:
            yield stack


@contextmanager
def http_api(
    home: Path, own: OwnDagster, profile: ProfileUnderTest = _ON_FILES, **settings: Any
) -> Iterator[ApiStack]:
    """Run the HTTP API alone, whether or not its Dagster is running."""
    names = ("requests", "address_requests", "reads", "address_reads")
    limits = {f"api_{name}_per_minute": 100_000 for name in names}
    given = {"dagster_url": own.address, **limits, **settings}
    chosen = profile.settings(home).model_copy(update=given)
    file = KeyFile(chosen.api_keys_file)
    keys = {scope.value: file.create(f"{scope.value}-{time.time_ns()}", scope) for scope in Scope}
    app = create_app(chosen)
    with served(app) as address:
        stack = ApiStack(address, chosen, keys, own, app.state.services, profile)
        try:
            yield stack
        finally:
            stack.client.close()
