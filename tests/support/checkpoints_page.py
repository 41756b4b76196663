"""docs/checkpoints.md, read as tests read it: its tables.

What belongs here: from the page to names. What stays out: what they are held to.
"""

import re
from functools import cache

from tests.support.command import ROOT

PAGE = ROOT / "docs" / "checkpoints.md"


@cache
def section(title: str) -> str:
    """The text under a heading of the second level."""
    return PAGE.read_text("utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]


@cache
def checkpoints() -> tuple[tuple[str, str, frozenset[str]], ...]:
    """Name, meaning, names of details; in the page's order."""
    rows = re.findall(
        r"^\| `(\w+)` \| (.*) \| (.*)\|$", section("The checkpoints"), flags=re.MULTILINE
    )
    return tuple(
        (name, meaning, frozenset(re.findall(r"`(\w+)`", details)))
        for name, meaning, details in rows
    )


def details_of(checkpoint: str) -> frozenset[str]:
    """What its `details` may hold."""
    return next(details for name, _, details in checkpoints() if name == checkpoint)


def fields_of_a_line() -> list[str]:
    """In the page's order."""
    return re.findall(r"^\| `(\w+)` \|", section("A line of the log"), flags=re.MULTILINE)
