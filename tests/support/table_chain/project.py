"""Copy the project and add the chain of tables: two files added, two lines changed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).parent
PARTS = (
    "geo_platform",
    "assets",
    "resources",
    "schedules",
    "deploy",
    "tests/support",
    "workspace.yaml",
    "contracts.lock.json",
    "pyproject.toml",
)

REGISTRY = "geo_platform/chains/registry.py"
MODULES = "assets/modules.py"


def copy_project(into: Path) -> Path:
    """Copy what a deployment has, and what the tests' servers need, and add the chain."""
    for part in PARTS:
        source, target = ROOT / part, into / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    add_chain(into)
    return into


def add_chain(project: Path) -> None:
    """Add a core module and an assets module, and register both."""
    shutil.copy2(HERE / "tables.py", project / "geo_platform" / "tables.py")
    shutil.copy2(HERE / "table_assets.py", project / "assets" / "table.py")
    # Before the chain of vectors, which also takes CSV: the first chain that accepts a source takes
    # it.
    _replace(project / REGISTRY, "= (RASTER, VECTOR)", "= (RASTER, TABLE, VECTOR)")
    _replace(
        project / REGISTRY,
        "from geo_platform.source.formats",
        "from geo_platform.tables import TABLE\nfrom geo_platform.source.formats",
    )
    _replace(
        project / MODULES, "import hello, raster, vector", "import hello, raster, table, vector"
    )
    _replace(project / MODULES, "[hello, raster, vector]", "[hello, raster, table, vector]")


def run_in(project: Path, *arguments: str | Path, timeout_s: float = 300) -> str:
    """Run a Python module in the copy, and return what it printed."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(project), "LANG": "C.UTF-8"}
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=project,
        env={**environment, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text("utf-8")
    assert text.count(old) == 1, f"{file} has {old!r} {text.count(old)} times"
    file.write_text(text.replace(old, new), "utf-8")
