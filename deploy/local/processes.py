"""Start, find and end background processes that outlive their parent; free ports; file locks."""

import atexit
import fcntl
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_START_TIMEOUT_S = 60
# Processes that outlive this one, without those that have ended since.
_STARTED: list[subprocess.Popen[bytes]] = []


class ServiceError(Exception):
    """A server is not available; the message gives the reason."""


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    user: str | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in its own session, so that Ctrl-C at the caller does not reach it."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            user=user,
            cwd="/",
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def outlive(process: subprocess.Popen[bytes]) -> int:
    """Keep the process running when this one ends. Return its pid."""
    _STARTED.append(process)
    return process.pid


def wait_until(
    is_up: Callable[[], bool], process: subprocess.Popen[bytes], name: str, log: Path
) -> None:
    """Wait until `is_up`. End the process if it does not come up, and raise ServiceError."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    try:
        while not is_up():
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServiceError(
                    f"{name} did not start. The end of "
                    f"{log}:\n{log.read_text('utf-8', 'replace')[-1000:]}"
                )
            time.sleep(0.02)
    except BaseException:
        process.kill()
        process.wait()
        raise


def free_port() -> int:
    """Return a free loopback port.

    It is below the range of outgoing connections, so that the kernel does not take it meanwhile.
    """
    while True:
        port = 15000 + secrets.randbelow(15000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def answers(port: int) -> bool:
    """Return whether a server listens on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def runs(pid: int, marker: str) -> bool:
    """Return whether the process is alive and its command contains `marker`.

    The pid alone does not suffice: the system may have reused it.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX" and marker in Path(f"/proc/{pid}/cmdline").read_text(
            "utf-8", "replace"
        )
    except (FileNotFoundError, ProcessLookupError):
        return False


def end_process(pid: int, marker: str, *, grace_s: float = 15) -> None:
    """Send SIGINT, then SIGKILL if the process is still alive after the grace period.

    A process whose command does not contain `marker` is left alone.
    """
    for kind, wait_s in ((signal.SIGINT, grace_s), (signal.SIGKILL, 5.0)):
        if not runs(pid, marker):
            break
        os.kill(pid, kind)
        deadline = time.monotonic() + wait_s
        while runs(pid, marker) and time.monotonic() < deadline:
            time.sleep(0.02)
    _STARTED[:] = [process for process in _STARTED if process.poll() is None]


@atexit.register
def _leave_running() -> None:
    # Python warns of each process that still runs, unless it has an exit code.
    for process in _STARTED:
        process.returncode = 0


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file among all processes of the machine, waiting for it.

    The kernel releases the lock when a process dies.
    """
    while True:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_still(file, descriptor):
                yield
                return
        finally:
            os.close(descriptor)


def _is_still(file: Path, descriptor: int) -> bool:
    """Return whether the path still names the locked file.

    The previous holder of the lock may have removed the folder.
    """
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
