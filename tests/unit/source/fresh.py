"""Run code in a new Python process, because GDAL's drivers and settings cannot be restored."""

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]


def in_fresh_python(program: str, *arguments: Path | str) -> str:
    """Return what the program prints; fail if it fails."""
    command = [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=60, cwd=_ROOT
    ).stdout
