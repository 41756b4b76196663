"""Which process wrote something, and whether it still lives.

What belongs here: the identity of a process on this machine, safe against reused process ids. What stays out: killing.
"""

import os
from functools import cache
from pathlib import Path

_ENDED = -1
# The time of boot is known to the second, and the clock may have been set since.
_CLOCK_SLACK_S = 2


def this_process() -> str:
    """`<pid>.<start time>`; the start time is in clock ticks since boot, and 0 where the system does not tell it."""
    return _identity(os.getpid())


@cache
def _identity(pid: int) -> str:
    return f"{pid}.{_start_ticks(pid) or 0}"


def is_alive(identity: str) -> bool:
    """Whether the process of this identity still runs. What is no identity counts as alive, since it is not ours to judge."""
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
    """Whether the process that had this id at a time (seconds since 1970) still runs. Where that cannot be told, it counts as alive."""
    start = _start_ticks(pid)
    if start == _ENDED or not is_alive(f"{pid}.0"):
        return False
    booted_s = _boot_time_s()
    if start is None or booted_s is None:
        return True
    return booted_s + start / os.sysconf("SC_CLK_TCK") <= seen_s + _CLOCK_SLACK_S


def _boot_time_s() -> float | None:
    """btime of /proc/stat (proc(5)), in whole seconds."""
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) for line in lines if line.startswith("btime ")), None)


def _start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/<pid>/stat (proc(5)); _ENDED for a zombie, None where there is no /proc to ask."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    # The second field is the command's name in parentheses and may itself hold spaces and parentheses.
    state, *rest = text.rpartition(")")[2].split()
    return _ENDED if state in "ZX" else int(rest[18])
