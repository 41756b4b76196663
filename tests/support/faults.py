"""How many faults a session did to the platform, and how many it survived: printed at its end.

What belongs here: counting. What stays out: doing them. A test says `survived("SIGKILL of the run's process")` once it has seen
that all holds afterwards; `tried` before it does the fault.
"""

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

_TRIED, _SURVIVED = "fault tried", "fault survived"


class Faults:
    """What one test did and what was survived of it."""

    def __init__(self, say: Callable[[str, object], None]) -> None:
        self._say = say

    def tried(self, fault: str) -> None:
        """Just before it is done."""
        self._say(_TRIED, fault)

    def survived(self, fault: str) -> None:
        """Once all that has to hold afterwards was seen to hold."""
        self._say(_SURVIVED, fault)


@pytest.fixture
def faults(record_property: Callable[[str, object], None]) -> Faults:
    """Reported with the test, so that it reaches the end of the session from every worker of it."""
    return Faults(record_property)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tried, survived = (
        Counter(_said(terminalreporter, _TRIED)),
        Counter(_said(terminalreporter, _SURVIVED)),
    )
    if not tried:
        return
    terminalreporter.write_sep("-", f"{tried.total()} faults tried, {survived.total()} survived")
    for fault, times in sorted(tried.items()):
        terminalreporter.write_line(f"  {fault}: {times} tried, {survived[fault]} survived")


def _said(terminalreporter: pytest.TerminalReporter, name: str) -> Iterator[str]:
    for ended in ("passed", "failed"):
        for report in terminalreporter.stats.get(ended, []):
            if report.when == "call":
                yield from (str(value) for said, value in report.user_properties if said == name)
