"""Where things are for a command: settings, stores, and the application root that jobs need.

What belongs here: composition. What stays out: any printing but the sentence that says why a command cannot work here.
"""

import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import click

from geo_platform.application_root import (
    APPLICATION_MARKER,
    find_application_root,
    make_importable,
)
from geo_platform.ports import Catalog, ObjectStore
from geo_platform.runs import RetryRequest, RunReport, RunRequest
from geo_platform.settings import Profile, Settings
from geo_platform.storage.local.scratch import ScratchRoot
from geo_platform.storage.stores import open_catalog, open_objects

# In the application root: how Dagster is set up for commands and `geo-platform dev`.
INSTANCE_TEMPLATES = {
    Profile.embedded: Path("deploy") / "embedded" / "dagster.yaml",
    Profile.production: Path("deploy") / "local" / "dagster.yaml",
}


class Launcher(Protocol):
    """Runs jobs in this process."""

    def run(self, request: RunRequest) -> RunReport:
        """Execute a job to its end."""

    def status(self, run_id: str) -> RunReport | None:
        """How a run stands; None where there is no such run."""

    def retry_of(self, run_id: str) -> RetryRequest | None:
        """What a run left to do; None where there is no such run."""


@dataclass(frozen=True)
class Application:
    """The stores of one home, and the way to its jobs."""

    settings: Settings

    @cached_property
    def objects(self) -> ObjectStore:
        return open_objects(self.settings)

    @cached_property
    def catalog(self) -> Catalog:
        return open_catalog(self.settings)

    @cached_property
    def scratch(self) -> ScratchRoot:
        return ScratchRoot(self.settings.scratch_dir)

    @cached_property
    def root(self) -> Path:
        """The application root, importable from now on.

        Raises click.UsageError: the named folder holds no workspace.yaml.
        """
        root = find_application_root(self.settings.application_root)
        if root is None or not (root / APPLICATION_MARKER).is_file():
            named = f"{root} holds no" if root is not None else "This installation has no"
            raise click.UsageError(
                f"{named} {APPLICATION_MARKER}: it is not an application root. Leave --application-root out to "
                "use the installed application, or make a root of your own: geo-platform init DIR"
            )
        make_importable(root)
        return root

    def definitions(self) -> Any:
        """The Dagster definitions. Raises ContractError where the stages do not fit together."""
        _ = self.root  # makes the assets importable
        from geo_platform.definitions import defs

        return defs

    def lazy_launcher(self, stack: ExitStack) -> Callable[[], Launcher]:
        """Opens a launcher at the first call: what is unchanged or refused at the door starts no Dagster."""
        opened: list[Launcher] = []

        def launcher() -> Launcher:
            if not opened:
                opened.append(stack.enter_context(self.launcher()))
            return opened[0]

        return launcher

    @contextmanager
    def launcher(self) -> Iterator[Launcher]:
        """A launcher on this home's Dagster instance; Dagster is imported only here."""
        # The stages' resources read the settings for themselves, here and in the processes that Dagster starts.
        os.environ["GEO_PLATFORM_HOME"] = str(self.settings.home_dir)
        self.scratch.sweep()
        definitions = self.definitions()
        module = importlib.import_module("geo_platform.orchestrator.launch")
        with module.InProcessLauncher(
            definitions, self.settings, self.root / INSTANCE_TEMPLATES[self.settings.profile]
        ) as launcher:
            yield launcher
