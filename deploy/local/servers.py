"""Start one PostgreSQL or one Azurite. `services.py` runs them as a pair.

Both listen on loopback only. PostgreSQL refuses to run as root, so root starts it as the user of
Debian's package, which must be able to reach its folder.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploy.local.packages import azurite_script, postgres_binaries, tool
from deploy.local.processes import ServiceError, answers, spawn, wait_until

ADMIN = "geo_admin"
ACCOUNT = "geolocal"
# `%a` is the application name: `geo_platform` and the run id for the platform's connections.
_LOG_CONNECTIONS = ("-c", "log_line_prefix=%m [%p] %u@%d %a: ", "-c", "log_connections=on")

_NOT_DURABLE = (
    "-c",
    "fsync=off",
    "-c",
    "synchronous_commit=off",
    "-c",
    "full_page_writes=off",
)


def start_postgres(
    folder: Path, *, port: int, password: str, durable: bool = True, extra: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start PostgreSQL on the cluster in `folder`. Make the cluster if it is missing.

    Passwords use SCRAM. With `durable=False` the server does not wait for the disk. Raises
    ServiceError.
    """
    binaries = postgres_binaries()
    if not (folder / "PG_VERSION").exists():
        _init_cluster(binaries, folder, password)
    log = folder.parent / f"{folder.name}.log"
    command = [
        str(binaries / "postgres"), "-D", str(folder), "-p", str(port),
        "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
        "-c", "max_connections=200", *_LOG_CONNECTIONS, *(() if durable else _NOT_DURABLE), *extra,
    ]  # fmt: skip
    process = spawn(command, log=log, user=server_user())
    wait_until(lambda: _accepts(binaries, port), process, "PostgreSQL", log)
    return process


def start_azurite(
    folder: Path, *, blob_port: int, queue_port: int, account_key: str, extra: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start the blob and queue services of the emulator. Raises ServiceError."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder.parent / f"{folder.name}.log"
    command = [
        tool("node"), str(azurite_script()), "--location", str(folder),
        "--blobHost", "127.0.0.1", "--blobPort", str(blob_port),
        "--queueHost", "127.0.0.1", "--queuePort", str(queue_port),
        "--tableHost", "127.0.0.1", "--tablePort", "0",
        "--skipApiVersionCheck", "--disableTelemetry", "--silent", *extra,
    ]  # fmt: skip
    process = spawn(
        command, log=log, env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{account_key}"}
    )
    wait_until(lambda: answers(blob_port) and answers(queue_port), process, "Azurite", log)
    return process


def make_folder(folder: Path) -> None:
    """Make the folder of the servers' data, closed to other users.

    Raises ServiceError: the folder belongs to another user.
    """
    user = server_user()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    ours = {os.geteuid()} if user is None else {os.geteuid(), _uid_of(user)}
    if folder.is_symlink() or folder.stat().st_uid not in ours:
        raise ServiceError(f"{folder} belongs to another user")
    if user is not None:
        shutil.chown(folder, user)
    folder.chmod(0o700)


def server_user() -> str | None:
    """Return the user as whom root starts PostgreSQL, or None for any other caller."""
    return "postgres" if os.geteuid() == 0 else None


def _uid_of(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_uid


def _init_cluster(binaries: Path, folder: Path, password: str) -> None:
    user = server_user()
    with tempfile.NamedTemporaryFile("w", dir=folder.parent, delete=False) as file:
        file.write(password)
    if user is not None:
        shutil.chown(file.name, user)
    command = [
        str(binaries / "initdb"), "-D", str(folder), "-U", ADMIN,
        "--auth=scram-sha-256", f"--pwfile={file.name}",
        "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions", "--no-sync",
    ]  # fmt: skip
    done = subprocess.run(command, user=user, cwd="/", capture_output=True, text=True, check=False)
    Path(file.name).unlink()
    if done.returncode:
        raise ServiceError(f"initdb failed: {done.stderr.strip()[-500:]}")


def _accepts(binaries: Path, port: int) -> bool:
    """Return whether the server accepts connections. During crash recovery it only listens."""
    done = subprocess.run(
        [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)], check=False
    )
    return done.returncode == 0
