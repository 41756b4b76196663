"""`geo-platform contracts check|show|lock`"""

import importlib
import sys

import click

from geo_platform.cli.application import Application


def _definitions_module(application: Application) -> object:
    if str(application.root) not in sys.path:
        sys.path.insert(0, str(application.root))
    return importlib.import_module("geo_platform.definitions")


@click.group("contracts")
def contracts() -> None:
    """The messages between stages: check that they fit, show them, lock their shapes."""
