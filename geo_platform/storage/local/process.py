"""Identify this process and machine, and look up whether another process still runs.

The identity of a process is its id and its start time: the system gives the id of an ended process
to a new one.

Used by `api/jobs`, `orchestrator` and `storage/local`.
"""

import hashlib
import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

_ENDED = -1
# The time of boot has whole seconds, and the clock may have been adjusted since.
_CLOCK_SLACK_S = 2


def this_process() -> str:
    """Return `<pid>.<start time>` of this process.

    The start time is in clock ticks since boot, and 0 if the system has no /proc.
    """
    return _identity(os.getpid())


@cache
def this_machine() -> str:
    """Return 8 hex digits for this boot of this machine and its process id namespace.

    Two processes with the same value can look each other up by process id.
    """
    facts = [socket.gethostname()]
    with suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with suppress(OSError):
        facts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:8]


def is_alive(identity: str) -> bool:
    """Return whether the process of this identity still runs.

    `identity` is a result of `this_process` on this machine. Any other text counts as running:
    callers remove the files of ended processes, and must not remove unknown files.
    """
    pid_text, _, start_text = identity.partition(".")
    if not (pid_text.isdigit() and start_text.isdigit()):
        return True
    pid, start = int(pid_text), int(start_text)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    current_start = _start_ticks(pid)
    return current_start is None or (
        current_start != _ENDED and (start == 0 or current_start == start)
    )


def is_alive_since(pid: int, at_s: float) -> bool:
    """Return whether the process that had the id `pid` at a time still runs.

    `at_s` is that time in seconds since 1970. Without /proc, any process with the id counts.
    """
    start = _start_ticks(pid)
    if start == _ENDED or not is_alive(f"{pid}.0"):
        return False
    booted_s = _boot_time_s()
    if start is None or booted_s is None:
        return True
    return booted_s + start / os.sysconf("SC_CLK_TCK") <= at_s + _CLOCK_SLACK_S


@cache
def _identity(pid: int) -> str:
    # The cache has the pid as its key, because a forked process inherits the cache.
    return f"{pid}.{_start_ticks(pid) or 0}"


def _boot_time_s() -> float | None:
    """Return btime of /proc/stat (proc(5)), in whole seconds."""
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) for line in lines if line.startswith("btime ")), None)


def _start_ticks(pid: int) -> int | None:
    """Return field 22 of /proc/<pid>/stat (proc(5)), _ENDED for a zombie, None without /proc."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # Field 2 is the command's name in parentheses, and may contain spaces and parentheses.
    state, *rest = text.rpartition(")")[2].split()
    return _ENDED if state in "ZX" else int(rest[18])
