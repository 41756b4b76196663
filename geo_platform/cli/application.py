"""What a command works with: settings, stores, the application root, and the way to run jobs.

Used by `cli/commands` and `cli`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import click

from geo_platform.application_root import (
    APPLICATION_MARKER,
    find_application_root,
    make_importable,
)
from geo_platform.process_start import frozen_imports
from geo_platform.runs import RetryRequest, RunReport, RunRequest
from geo_platform.settings import Profile, use_home
from geo_platform.storage.local.scratch import ScratchRoot
from geo_platform.storage.stores import HomeStores

# In the application root: Dagster's settings for commands and `geo-platform dev`.
INSTANCE_TEMPLATES = {
    Profile.embedded: Path("deploy") / "embedded" / "dagster.yaml",
    Profile.production: Path("deploy") / "local" / "dagster.yaml",
}


class Launcher(Protocol):
    """Execute jobs in this process, and read the state of runs.

    Every method raises StoreDenied, StoreUnavailable, DatabaseUnavailable: Dagster's storage cannot
    be used.
    """

    def run(self, request: RunRequest) -> RunReport:
        """Execute a job to its end."""

    def status(self, run_id: str) -> RunReport | None:
        """Return the state of a run, or None if there is no such run."""

    def retry_of(self, run_id: str) -> RetryRequest | None:
        """Return the request to retry a run, or None if there is no such run."""


@dataclass(frozen=True)
class _NamingOptions:
    """A launcher whose reports name options where the errors of runs name parameters."""

    launcher: Launcher

    def run(self, request: RunRequest) -> RunReport:
        return self._typed(self.launcher.run(request))

    def status(self, run_id: str) -> RunReport | None:
        report = self.launcher.status(run_id)
        return self._typed(report) if report is not None else None

    def retry_of(self, run_id: str) -> RetryRequest | None:
        return self.launcher.retry_of(run_id)

    @staticmethod
    def _typed(report: RunReport) -> RunReport:
        if report.error is None:
            return report
        from geo_platform.cli.parameters import record_as_typed

        return replace(report, error=record_as_typed(report.error))


@dataclass(frozen=True)
class Application(HomeStores):
    """The stores of one home, and its jobs."""

    @cached_property
    def scratch(self) -> ScratchRoot:
        return ScratchRoot(self.settings.scratch_dir)

    @cached_property
    def root(self) -> Path:
        """Return the application root, and make it importable.

        Raises click.UsageError: the folder holds no workspace.yaml, or no root was found.
        """
        root = find_application_root(self.settings.application_root)
        if root is None or not (root / APPLICATION_MARKER).is_file():
            named = f"{root} holds no" if root is not None else "This installation has no"
            raise click.UsageError(
                f"{named} {APPLICATION_MARKER}: it is not an application root. Leave "
                "--application-root out to use the installed application, or make a root of your "
                "own: geo-platform init DIR"
            )
        make_importable(root)
        return root

    @property
    def instance_template(self) -> Path:
        """Return the template of Dagster's settings for this profile.

        Raises click.UsageError: there is no application root.
        """
        return self.root / INSTANCE_TEMPLATES[self.settings.profile]

    def definitions(self) -> Any:
        """Import the Dagster definitions.

        Raises ContractError: the stages do not fit together. Raises click.UsageError: there is no
        application root.
        """
        _ = self.root  # makes the assets importable
        with frozen_imports():
            from assets.stage import span_destinations
            from geo_platform.definitions import defs
            from geo_platform.telemetry.tracing_export import load_exporters

            load_exporters(span_destinations())
        return defs

    def lazy_launcher(self, stack: ExitStack) -> Callable[[], Launcher]:
        """Return a function that opens a launcher at its first call.

        So a command whose files are all unchanged or refused does not start Dagster.
        """
        opened: list[Launcher] = []

        def launcher() -> Launcher:
            if not opened:
                opened.append(stack.enter_context(self.launcher()))
            return opened[0]

        return launcher

    @contextmanager
    def launcher(self) -> Iterator[Launcher]:
        """Open a launcher on this home's Dagster instance. Imports Dagster.

        Raises ContractError, click.UsageError: see `definitions`. Raises StoreDenied,
        StoreUnavailable, DatabaseUnavailable: the home or Dagster's storage cannot be used.
        """
        use_home(self.settings.home_dir)
        self.scratch.sweep()
        definitions = self.definitions()
        with frozen_imports():
            from geo_platform.orchestrator.launch import InProcessLauncher
        with InProcessLauncher(definitions, self.settings, self.instance_template) as launcher:
            yield _NamingOptions(launcher)
