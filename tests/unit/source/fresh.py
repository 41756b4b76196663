"""A Python of its own for what changes a process for good: GDAL's drivers and settings."""

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]


def in_fresh_python(program: str, *arguments: Path | str) -> str:
    """What the program prints; its failure is the test's."""
    command = [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=60, cwd=_ROOT
    ).stdout
