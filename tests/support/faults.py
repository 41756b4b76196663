"""Count the faults that a test session injects and survives; print both at its end.

A test calls `tried` before it injects a fault, and `survived("SIGKILL of the run's process")` once
it has checked everything afterwards.
"""

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

_TRIED, _SURVIVED = "fault tried", "fault survived"


class Faults:
    """The faults of one test."""

    def __init__(self, say: Callable[[str, object], None]) -> None:
        self._say = say

    def tried(self, fault: str) -> None:
        """Count a fault; call it just before the fault."""
        self._say(_TRIED, fault)

    def survived(self, fault: str) -> None:
        """Count a survived fault; call it after all checks."""
        self._say(_SURVIVED, fault)


@pytest.fixture
def faults(record_property: Callable[[str, object], None]) -> Faults:
    """Report the counts with the test, so that they reach the session's end from every worker."""
    return Faults(record_property)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tried, survived = (
        Counter(_reported(terminalreporter, _TRIED)),
        Counter(_reported(terminalreporter, _SURVIVED)),
    )
    if not tried:
        return
    terminalreporter.write_sep("-", f"{tried.total()} faults tried, {survived.total()} survived")
    for fault, times in sorted(tried.items()):
        terminalreporter.write_line(f"  {fault}: {times} tried, {survived[fault]} survived")


def _reported(terminalreporter: pytest.TerminalReporter, name: str) -> Iterator[str]:
    for ended in ("passed", "failed"):
        for report in terminalreporter.stats.get(ended, []):
            if report.when == "call":
                yield from (str(value) for key, value in report.user_properties if key == name)
