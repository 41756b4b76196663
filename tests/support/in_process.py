"""Run real commands and runs in the test's own process, without starting Python for each."""

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
    # Dagster leaves the log file's handler to the garbage collector, and uses a deprecated name of
    # pydantic.
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
]

# It holds the resources of one profile, so each test imports it afresh; it is restored afterwards.
_DEFINITIONS = "geo_platform.definitions"

Give = Callable[..., Any]


@contextmanager
def commands(profile: ProfileUnderTest, home: Path) -> Iterator[Give]:
    """Yield a function: `give("list")` returns the output of `geo-platform list --json`.

    It returns standard error if nothing was printed. The command must end with `exit_code`, by
    default 0.
    """

    def give(*arguments: str | Path, exit_code: int = 0) -> Any:
        ended = CliRunner().invoke(main, ["--home", str(home), *map(str, arguments), "--json"])
        assert ended.exit_code == exit_code, ended.output
        return json.loads(ended.stdout) if ended.stdout else ended.stderr

    with _as_started_with(profile.environment):
        yield give


def geo_platform_here(*arguments: str | Path, home: Path, extra: Mapping[str, str]) -> Ended:
    """Do what `tests.support.command.geo_platform` does, in this process."""
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
