"""Parse the tables of docs/checkpoints.md."""

import re
from functools import cache

from tests.support.command import ROOT

PAGE = ROOT / "docs" / "checkpoints.md"


@cache
def section(title: str) -> str:
    """Return the text under a second-level heading."""
    return PAGE.read_text("utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]


@cache
def checkpoints() -> tuple[tuple[str, str, frozenset[str]], ...]:
    """Return name, meaning and detail names of each checkpoint, in the page's order."""
    rows = re.findall(
        r"^\| `(\w+)` \| (.*) \| (.*)\|$", section("The checkpoints"), flags=re.MULTILINE
    )
    return tuple(
        (name, meaning, frozenset(re.findall(r"`(\w+)`", details)))
        for name, meaning, details in rows
    )


def details_of(checkpoint: str) -> frozenset[str]:
    """Return the names that `details` of the checkpoint may hold."""
    return next(details for name, _, details in checkpoints() if name == checkpoint)


def fields_of_a_line() -> list[str]:
    """Return the field names, in the page's order."""
    return re.findall(r"^\| `(\w+)` \|", section("A line of the log"), flags=re.MULTILINE)
