"""Which commands there are, what their help says, and which libraries they load."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping

import click
import pytest

from geo_platform.cli.main import COMMANDS, main
from tests.support.command import SAMPLES
from tests.support.production import ProfileUnderTest

SLOW = {"rasterio", "pyogrio", "pandas", "geopandas", "dagster", "jsonschema", "pystac"}


def _loaded_by(*arguments: str, extra: Mapping[str, str] | None = None) -> set[str]:
    """Return the slow libraries that a command has loaded when it ends."""
    program = """
import json, sys
from geo_platform.cli.main import main
try:
    main(sys.argv[1:])
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
    command, env = [sys.executable, "-c", program, *arguments], {**os.environ, **(extra or {})}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=60)
    return SLOW & set(json.loads(done.stderr))


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["list"], ["list", "--help"], ["quarantine", "list"]],
    ids=" ".join,
)
def test_a_command_without_geodata_loads_no_geodata_library(arguments: list[str]) -> None:
    assert _loaded_by(*arguments) == set()


def test_a_listing_from_the_database_loads_no_geodata_library(
    production: ProfileUnderTest,
) -> None:
    assert _loaded_by("list", extra=production.environment) == set()


def test_plan_loads_the_geodata_libraries() -> None:
    """The positive case of the tests above: without it, they could not fail."""
    samples = [
        SAMPLES / name for name in ("sierra_nevada_srtm.tif", "natural_earth_countries.shp.zip")
    ]
    assert _loaded_by("plan", *map(str, samples)) >= {"rasterio", "pyogrio"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_exists_and_has_help(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    assert command.help
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not (option.help or "").strip()] == []


def test_an_unknown_command_is_not_found() -> None:
    assert main.get_command(click.Context(main), "nope") is None
