"""Find and install what servers and tests need: PostgreSQL with PostGIS, Node, and npm packages.

PostgreSQL and Node come from Debian. Azurite, a KQL parser and MapLibre GL JS come from npm, locked
in `package-lock.json` of the folders `azurite`, `kusto` and `maplibre`, and go into `.services/` of
the checkout.
"""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from deploy.local.processes import ServiceError, locked

ROOT = Path(__file__).resolve().parents[2]
POSTGIS_ON_DEBIAN_12 = "postgresql-15-postgis-3"
_AZURITE = Path(__file__).with_name("azurite")
_KUSTO = Path(__file__).with_name("kusto")
# The files of the parser that are used: 5 MB of 31.
_KUSTO_USED = ("bridge.min.js", "Kusto.Language.Bridge.min.js")
_MAPLIBRE = Path(__file__).with_name("maplibre")
# The files that a page loads: 2 MB of 22. They contain what MapLibre depends on.
_MAPLIBRE_USED = ("maplibre-gl.css", "maplibre-gl.mjs", "maplibre-gl-worker.mjs")

_POSTGRES_HOMES = Path("/usr/lib/postgresql")
_EXTENSIONS = Path("/usr/share/postgresql")
Say = Callable[[str], None]


def install_missing(say: Say) -> None:
    """Install Debian's packages, which needs root, and Azurite, which does not.

    Raises ServiceError with the command to run if the packages cannot be installed here.
    """
    needs_node = shutil.which("node") is None or (
        shutil.which("npm") is None and not azurite_script().exists()
    )
    needs_postgis = not _servers_with_postgis()
    if needs_postgis or needs_node:
        _install_debian(needs_postgis=needs_postgis, needs_node=needs_node, say=say)
    if not azurite_script().exists():
        with locked(_tools_folder() / "lock"):
            _install_locked(_AZURITE, azurite_script(), say)


def kusto_parser(say: Say) -> list[Path]:
    """Return the scripts of Microsoft's KQL parser in load order. Install them if they are missing.

    Raises ServiceError, also if there is no Node.
    """
    tool("node")
    package = _locked_folder(_KUSTO) / "node_modules" / "@kusto" / "language-service-next"
    scripts = [package / name for name in _KUSTO_USED]
    with locked(_tools_folder() / "lock"):
        _install_locked(_KUSTO, scripts[-1], say)
        for path in package.iterdir():
            if path.name not in (*_KUSTO_USED, "package.json"):
                path.unlink()
    return scripts


def maplibre_files(say: Say) -> list[Path]:
    """Return MapLibre's style sheet, module and worker. Install them if they are missing.

    Raises ServiceError, also if they are missing and there is no npm.
    """
    modules = _locked_folder(_MAPLIBRE) / "node_modules"
    files = [modules / "maplibre-gl" / "dist" / name for name in _MAPLIBRE_USED]
    with locked(_tools_folder() / "lock"):
        _install_locked(_MAPLIBRE, files[-1], say)
        for path in files[0].parent.iterdir():
            if path.name not in _MAPLIBRE_USED:
                path.unlink()
    return files


def postgres_binaries() -> Path:
    """Return the bin folder of the newest PostgreSQL with PostGIS. Raises ServiceError."""
    found = _servers_with_postgis()
    if not found:
        raise ServiceError(
            "No PostgreSQL server with PostGIS found. On Debian 12: apt-get install "
            f"{POSTGIS_ON_DEBIAN_12}"
        )
    return max(found, key=lambda path: int(path.parent.parent.name)).parent


def azurite_script() -> Path:
    """Return the path of the locked Azurite, installed or not."""
    return _locked_folder(_AZURITE) / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"


def tool(name: str) -> str:
    """Return the path of a program. Raises ServiceError: it is not installed."""
    found = shutil.which(name)
    if found is None:
        raise ServiceError(f"{name} is not installed on this machine")
    return found


def _install_debian(*, needs_postgis: bool, needs_node: bool, say: Say) -> None:
    node = ["nodejs", "npm"] if needs_node else []
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        packages = [POSTGIS_ON_DEBIAN_12] * needs_postgis + node
        raise ServiceError(
            f"Missing on this machine: {', '.join(packages)}. As root on Debian 12: apt-get "
            f"install {' '.join(packages)}"
        )
    say("apt-get update")
    _apt("update", "-qq")
    packages = [_postgis_package()] * needs_postgis + node
    say(f"apt-get install {' '.join(packages)}")
    _apt("install", "-y", "-qq", "--no-install-recommends", *packages)


def _postgis_package() -> str:
    """Return the PostGIS package of this release.

    Each release of Debian or Ubuntu has one PostgreSQL.
    """
    done = subprocess.run(
        [tool("apt-cache"), "search", "--names-only", "^postgresql-[0-9]+-postgis-3$"],
        capture_output=True,
        text=True,
        check=False,
    )
    versions = re.findall(r"^postgresql-(\d+)-postgis-3 ", done.stdout, re.MULTILINE)
    return f"postgresql-{max(map(int, versions))}-postgis-3" if versions else POSTGIS_ON_DEBIAN_12


def _apt(*arguments: str) -> None:
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        [tool("apt-get"), *arguments], env=quiet, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ServiceError(f"apt-get {arguments[0]} failed: {done.stderr.strip()[-500:]}")


def _locked_folder(named: Path) -> Path:
    """Return the folder for what `named` locks.

    A changed lock gets another folder, so that running processes keep their files.
    """
    lock = (named / "package-lock.json").read_bytes()
    return _tools_folder() / f"{named.name}-{hashlib.sha256(lock).hexdigest()[:10]}"


def _install_locked(named: Path, script: Path, say: Say) -> None:
    if script.exists():
        return
    target = _locked_folder(named)
    say(f"npm ci of {named.name} into {target}")
    making = target.with_name(f"{target.name}.making")
    shutil.rmtree(making, ignore_errors=True)
    shutil.copytree(named, making)
    arguments: Sequence[str] = [
        "ci",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--omit=optional",
    ]
    done = subprocess.run(
        [tool("npm"), *arguments], cwd=making, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ServiceError(
            f"npm could not install {named.name}: {(done.stderr or done.stdout).strip()[-500:]}"
        )
    making.rename(target)


def _servers_with_postgis() -> list[Path]:
    found = _POSTGRES_HOMES.glob("*/bin/postgres")
    return [
        path
        for path in found
        if (_EXTENSIONS / path.parent.parent.name / "extension" / "postgis.control").exists()
    ]


def _tools_folder() -> Path:
    return ROOT / ".services"
