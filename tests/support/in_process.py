"""Commands given in the test's own process: real commands, real runs, without Python's start for each.

What belongs here: the profile's settings around them, and definitions of that profile. What stays out: what is asked.
"""

import gc
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner

from geo_platform.cli.main import main
from tests.support.command import Ended
from tests.support.production import ProfileUnderTest

DAGSTER_S_WARNINGS = [
    # Dagster leaves the handler of the log file to the garbage collector, and asks pydantic by an old name.
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
]

# It has the resources of one profile: it is loaded anew for each test, and as it was afterwards.
_DEFINITIONS = "geo_platform.definitions"

Give = Callable[..., Any]


@contextmanager
def commands(profile: ProfileUnderTest, home: Path) -> Iterator[Give]:
    """`give("list")` hands back what `geo-platform list --json` printed, or standard error where it printed nothing.

    Its exit code has to be 0, or what `exit_code` says.
    """

    def give(*arguments: str | Path, exit_code: int = 0) -> Any:
        ended = CliRunner().invoke(main, ["--home", str(home), *map(str, arguments), "--json"])
        assert ended.exit_code == exit_code, ended.output
        return json.loads(ended.stdout) if ended.stdout else ended.stderr

    with _as_started_with(profile.environment):
        yield give


def geo_platform_here(*arguments: str | Path, home: Path, extra: Mapping[str, str]) -> Ended:
    """As `tests.support.command.geo_platform`: the same command and answer, without a process of its own."""
    with _as_started_with(extra):
        ended = CliRunner().invoke(main, ["--home", str(home), *map(str, arguments)])
    return Ended(ended.exit_code, ended.stdout, ended.stderr)


@contextmanager
def _as_started_with(environment: Mapping[str, str]) -> Iterator[None]:
    loaded = sys.modules.pop(_DEFINITIONS, None)
    try:
        with patch.dict(os.environ, dict(environment)):
            yield
    finally:
        gc.collect()
        sys.modules.pop(_DEFINITIONS, None)
        if loaded is not None:
            sys.modules[_DEFINITIONS] = loaded
