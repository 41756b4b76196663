"""Fixtures of every test: a home of its own, no telemetry, a summary of tests that did not run."""

import gc
import os
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.skipping import SKIP_NOTHING, cannot_run

pytest_plugins = ["tests.support.production", "tests.support.faults", "tests.support.spans"]


# A busy machine may pause a test for longer than the default deadline of an example, 0.2 s.
settings.register_profile(
    "busy_machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("busy_machine")

_SPANS_GO_TO = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from the developer's own .geo and telemetry collector."""
    monkeypatch.setenv("GEO_PLATFORM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    for name in (*_SPANS_GO_TO, "APPLICATIONINSIGHTS_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)


def pytest_configure() -> None:
    """Stop ignoring SIGINT, as a script's background command does.

    Dagster ends the processes that copy a step's output by SIGINT. Processes inherit that it is
    ignored, so each step would wait until a limit of time has passed.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Freeze the objects that exist by now, so that later garbage collections skip them.

    Every command that runs in a test's own process collects garbage.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of a real browser. Without one, skip loudly, or fail in CI."""
    found = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if found is None:
        cannot_run("Chromium is not installed; on Debian: apt-get install chromium")
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.write_line("")
        terminalreporter.write_sep(
            "!", f"{len(skipped)} TESTS WERE NOT RUN ON THIS MACHINE", red=True, bold=True
        )
        for report in skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            terminalreporter.write_line(f"  {report.nodeid}: {reason}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the suite on a skip where skips are forbidden."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if (
        os.environ.get(SKIP_NOTHING)
        and reporter is not None
        and reporter.stats.get("skipped")
        and exitstatus == 0
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
