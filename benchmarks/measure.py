"""Time whole commands: wall seconds, CPU seconds, peak memory, as the system counts them."""

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """One finished process."""

    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    stdout: str


def run(command: Sequence[str | Path], *, env: dict[str, str] | None = None) -> Measured:
    """Run a command to its end.

    Raises RuntimeError: if it fails, with its output.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
    )
    if process.stdout is None:
        raise RuntimeError("the process has no standard output")
    stdout = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{stdout}")
    return Measured(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, stdout)


def in_turn(rounds: int, *runs: Callable[[], Measured]) -> list[list[Measured]]:
    """Run each in turn (A B A B ...), so that a drift in the machine's speed affects all alike.

    A first round of each is not counted.
    """
    for one in runs:
        one()
    results: list[list[Measured]] = [[] for _ in runs]
    for _ in range(rounds):
        for index, one in enumerate(runs):
            results[index].append(one())
    return results


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the pairwise ratios."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def spread(values: Sequence[float]) -> str:
    """Format as median (minimum to maximum)."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def tool(name: str) -> str:
    """Return the path of a command to compare with.

    Raises SystemExit: if it is missing, with the package that has it.
    """
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not installed; on Debian: apt-get install gdal-bin")
    return found
