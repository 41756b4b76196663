"""The command `geo-platform init DIR`: make an application root that can be changed and deployed.

An application root is the folder with assets, resources, schedules and workspace.yaml.

Called by `cli/main.py`.
"""

import re
import shutil
from pathlib import Path
from string import Template

import click

from geo_platform import __version__
from geo_platform.application_root import shipped_application
from geo_platform.cli.outcome import printable

_COPIED = ("assets", "resources", "schedules", "samples", "deploy", "contracts.lock.json")
# Files that a checkout may have and that are not part of the application: caches and secrets.
_IGNORED = shutil.ignore_patterns(
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

# The deployment files of the repository load the first path. Those of a new root must load the
# second path: the file beside the root's assets.
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

    The root gets assets, resources, schedules, samples and deployment files.

    DIR must be empty or not exist yet. The library is not copied: the root uses the installed
    package. Commands that are run in DIR use the assets in DIR and store their data in DIR/.geo.
    """
    shipped = shipped_application()
    if shipped is None:
        raise click.ClickException(
            "This installation does not contain the application files. Install geo-platform again."
        )
    if folder.exists() and any(folder.iterdir()):
        raise click.UsageError(
            f"{printable(str(folder))} is not empty. Name a new or an empty folder."
        )
    _copy(shipped, folder)
    _fill_in(shipped / "deploy" / "application", folder)
    for name in _NAMING_DEFINITIONS:
        path = folder / name
        path.write_text(path.read_text("utf-8").replace(*_DEFINITIONS), encoding="utf-8")
    name = printable(str(folder))
    click.echo(f"Made an application root in {name}. Next:\n  cd {name}\n  geo-platform demo")


def _copy(shipped: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in _COPIED:
        source = shipped / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=_IGNORED)
        else:
            shutil.copyfile(source, folder / name)


def _fill_in(templates: Path, folder: Path) -> None:
    """Fill in each template and write it to its path in the new root.

    Only ${NAME} and ${VERSION} are replaced: a Dockerfile has other variables of this form.
    """
    values = {"NAME": _package_name(folder), "VERSION": __version__}
    for name, place in _TEMPLATES.items():
        text = Template((templates / name).read_text("utf-8")).safe_substitute(values)
        (folder / place).write_text(text, encoding="utf-8")


def _package_name(folder: Path) -> str:
    """Return a name that Python packaging and Docker accept, made from the folder's name.

    https://packaging.python.org/en/latest/specifications/name-normalization/
    """
    name = re.sub(r"[^a-z0-9]+", "-", folder.absolute().name.casefold()).strip("-")
    return name or "my-application"
