"""Timing whole commands: wall seconds, CPU seconds and the peak memory of the process, as the system accounts for them."""

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
    """Run to the end. Raises RuntimeError with what it printed where it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
    )
    if process.stdout is None:
        raise RuntimeError("no pipe")
    stdout = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{stdout}")
    return Measured(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, stdout)


def in_turn(rounds: int, *runs: Callable[[], Measured]) -> list[list[Measured]]:
    """Each in turn, A B A B …, so that a machine whose speed drifts is fair to all; a first round is not counted."""
    for one in runs:
        one()
    results: list[list[Measured]] = [[] for _ in runs]
    for _ in range(rounds):
        for index, one in enumerate(runs):
            results[index].append(one())
    return results


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the ratios pair by pair."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def spread(values: Sequence[float]) -> str:
    """median (minimum to maximum)"""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def tool(name: str) -> str:
    """Path of an alternative's command. Raises SystemExit naming the package where it is missing."""
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not on this machine; on Debian: apt-get install gdal-bin")
    return found
