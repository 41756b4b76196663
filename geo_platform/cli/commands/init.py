"""`geo-platform init DIR`: lay out an application root that can be changed and deployed."""

import re
import shutil
from pathlib import Path
from string import Template

import click

from geo_platform import __version__
from geo_platform.application_root import shipped_application
from geo_platform.cli.outcome import printable

_COPIED = ("assets", "resources", "schedules", "samples", "deploy", "contracts.lock.json")
# What a checkout may hold that is not part of the application: caches and secrets.
_LEFT_OUT = shutil.ignore_patterns(
    "__pycache__", "*.pyc", ".*", "secrets", "node_modules", "application"
)

# Template in deploy/application -> its place in the new root.
_TEMPLATES = {
    "README.md": "README.md",
    "pyproject.toml.in": "pyproject.toml",
    "gitignore": ".gitignore",
    "dockerignore": ".dockerignore",
    "definitions.py": "definitions.py",
    "workspace.yaml": "workspace.yaml",
    "Dockerfile": "deploy/docker/Dockerfile",
}

# A repository's deployment loads its own definitions, a new root's the file beside its assets.
_DEFINITIONS = ("geo_platform/code_location.py", "definitions.py")
_NAMING_DEFINITIONS = (
    "deploy/docker/compose.yaml",
    "deploy/azure/container-apps.json",
    "deploy/azure/values-aks.yaml",
)


@click.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def init(folder: Path) -> None:
    """Make an application root in DIR that you can change and deploy.

    It gets assets, resources, schedules, samples and deployment files.

    DIR must be empty or not exist yet. The library stays in the installed package. Commands that
    are run in DIR use its assets and keep their data in DIR/.geo.
    """
    shipped = shipped_application()
    if shipped is None:
        raise click.ClickException("This installation carries no application. Install it again.")
    if folder.exists() and any(folder.iterdir()):
        raise click.UsageError(
            f"{printable(str(folder))} is not empty. Name a new or an empty folder."
        )
    _copy(shipped, folder)
    _fill_in(shipped / "deploy" / "application", folder)
    for name in _NAMING_DEFINITIONS:
        path = folder / name
        path.write_text(path.read_text("utf-8").replace(*_DEFINITIONS), encoding="utf-8")
    shown = printable(str(folder))
    click.echo(f"Made an application root in {shown}. Next:\n  cd {shown}\n  geo-platform demo")


def _copy(shipped: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in _COPIED:
        source = shipped / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=_LEFT_OUT)
        else:
            shutil.copyfile(source, folder / name)


def _fill_in(templates: Path, folder: Path) -> None:
    """Write each template to its place.

    Only ${NAME} and ${VERSION} are filled in: a Dockerfile has its own names.
    """
    values = {"NAME": _package_name(folder), "VERSION": __version__}
    for name, place in _TEMPLATES.items():
        text = Template((templates / name).read_text("utf-8")).safe_substitute(values)
        (folder / place).write_text(text, encoding="utf-8")


def _package_name(folder: Path) -> str:
    """A name that Python packaging and Docker accept, from the folder's.

    https://packaging.python.org/en/latest/specifications/name-normalization/
    """
    name = re.sub(r"[^a-z0-9]+", "-", folder.absolute().name.casefold()).strip("-")
    return name or "my-application"
