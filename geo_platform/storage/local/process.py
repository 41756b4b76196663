"""The identity of this process and machine, and whether another process still runs.

An identity holds the start time of the process, so that a reused process id is not mistaken for it.
"""

import hashlib
import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

_ENDED = -1
# The time of boot is known to the second, and the clock may have been set since.
_CLOCK_SLACK_S = 2


def this_process() -> str:
    """Return `<pid>.<start time>` of this process.

    The start time is in clock ticks since boot, and 0 where the system does not tell it.
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

    Any other text counts as alive, so that nothing of somebody else's is removed.
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
    now = _start_ticks(pid)
    return now is None or (now != _ENDED and (start == 0 or now == start))


def is_alive_since(pid: int, seen_s: float) -> bool:
    """Return whether the process that had this id at `seen_s` (seconds since 1970) still runs.

    It counts as alive where the system does not tell.
    """
    start = _start_ticks(pid)
    if start == _ENDED or not is_alive(f"{pid}.0"):
        return False
    booted_s = _boot_time_s()
    if start is None or booted_s is None:
        return True
    return booted_s + start / os.sysconf("SC_CLK_TCK") <= seen_s + _CLOCK_SLACK_S


@cache
def _identity(pid: int) -> str:
    # Cached by pid, since a forked process inherits the cache.
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
