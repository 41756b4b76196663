"""Fixtures of every test: a home of its own, no telemetry, and a loud report of skipped tests."""

import gc
import os
import shutil
from pathlib import Path

import pytest

from tests.support.skipping import SKIP_NOTHING, cannot_run

pytest_plugins = ["tests.support.production", "tests.support.faults", "tests.support.spans"]


_SPANS_GO_TO = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the developer's own .geo or sends spans to their collector."""
    monkeypatch.setenv("GEO_PLATFORM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    for name in (*_SPANS_GO_TO, "APPLICATIONINSIGHTS_CONNECTION_STRING"):
        monkeypatch.delenv(name, raising=False)


def pytest_collection_finish() -> None:
    """Exempt every object imported so far from garbage collection: commands that run in the test
    process collect often.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def chromium() -> str:
    """Return the path of a real browser. Without one the test is skipped, and fails in CI."""
    found = (
        shutil.which("chromium")
        or shutil.which("chromium-browser")
        or shutil.which("google-chrome")
    )
    if found is None:
        cannot_run("no Chromium on this machine; on Debian: apt-get install chromium")
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
    """Fail the suite on a skip where nothing may be skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if (
        os.environ.get(SKIP_NOTHING)
        and reporter is not None
        and reporter.stats.get("skipped")
        and exitstatus == 0
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
