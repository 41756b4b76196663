"""Run PostgreSQL with PostGIS and Azurite on this machine: the production profile without a cloud.

    python -m deploy.local.services install          install what is missing, start nothing
    python -m deploy.local.services start            the same, start and fill both, print addresses
    python -m deploy.local.services run -- COMMAND   the same, then COMMAND on them
    python -m deploy.local.services status           print addresses
    python -m deploy.local.services stop [--remove]  end both; --remove deletes their data too

The pair and its generated secrets are kept in one folder. `servers.py` starts each server,
`contents.py` fills them.
"""

import argparse
import hashlib
import json
import os
import secrets
import shutil
import sys
from base64 import b64encode
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.local.packages import ROOT, Say, install_missing
from deploy.local.processes import (
    ServiceError,
    answers,
    end_process,
    free_port,
    locked,
    outlive,
    runs,
)
from deploy.local.servers import ACCOUNT, ADMIN, make_folder, start_azurite, start_postgres

DATABASE = "geo"
DAGSTER_DATABASE = "dagster"
# The login of the platform: it may load and publish, but is not an administrator.
LOADER = "geo_app"

_STATE = "services.json"


@dataclass(frozen=True)
class Services:
    """Two running servers.

    `folder` holds their data and secrets, and is readable by its owner only.
    """

    folder: str
    postgres_pid: int
    postgres_port: int
    postgres_password: str
    loader_password: str
    azurite_pid: int
    blob_port: int
    queue_port: int
    account_key: str

    def database_url(
        self, database: str = DATABASE, *, user: str = ADMIN, password: str | None = None
    ) -> str:
        """Return a libpq URL, by default for the administrator, who owns the cluster."""
        secret = password or self.postgres_password
        return f"postgresql://{user}:{secret}@127.0.0.1:{self.postgres_port}/{database}"

    @property
    def account_url(self) -> str:
        return f"http://127.0.0.1:{self.blob_port}/{ACCOUNT}"

    @property
    def connection_string(self) -> str:
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={self.account_key};"
            f"BlobEndpoint={self.account_url};QueueEndpoint=http://127.0.0.1:{self.queue_port}/{ACCOUNT};"
        )

    def environment(self) -> dict[str, str]:
        """Return the production profile's settings for these servers, with the login that loads."""
        return {
            "GEO_PLATFORM_PROFILE": "production",
            "GEO_PLATFORM_BLOB_CONNECTION_STRING": self.connection_string,
            "GEO_PLATFORM_POSTGRES_URL": self.database_url(
                user=LOADER, password=self.loader_password
            ),
            "GEO_PLATFORM_DAGSTER_POSTGRES_URL": self.database_url(
                DAGSTER_DATABASE, user=LOADER, password=self.loader_password
            ),
        }


def start(folder: Path, *, durable: bool = True, say: Say = lambda _: None) -> Services:
    """Install what is missing and start both in `folder`, or return the running pair.

    Two concurrent calls get the same pair. `durable=False` is for tests. Raises ServiceError.
    """
    install_missing(say)
    make_folder(folder)
    with locked(folder / "lock"):
        return find(folder) or _start(folder, durable=durable, say=say)


def find(folder: Path) -> Services | None:
    """Return the servers of this folder if both are alive and answer, else None."""
    services = _read_state(folder)
    if services is None:
        return None
    are_alive = runs(services.postgres_pid, services.folder) and runs(
        services.azurite_pid, services.folder
    )
    return (
        services
        if are_alive and answers(services.postgres_port) and answers(services.blob_port)
        else None
    )


def stop(folder: Path, *, remove: bool = False) -> bool:
    """End both, first with SIGINT. Return whether anything was running."""
    if not folder.is_dir():
        return False
    with locked(folder / "lock"):
        services = _read_state(folder)
        if services is not None:
            _end(services)
            (folder / _STATE).unlink(missing_ok=True)
        if remove:
            shutil.rmtree(folder)
    return services is not None


def default_folder() -> Path:
    """Return the folder for this checkout and user.

    It is outside of home folders, which PostgreSQL's user may not enter.
    """
    name = hashlib.sha256(f"{os.getuid()}:{ROOT}".encode()).hexdigest()[:10]
    return Path("/var/tmp") / f"geo-platform-services-{name}"  # noqa: S108  # named for this user and closed to others


def _start(folder: Path, *, durable: bool, say: Say) -> Services:
    left_over = _read_state(folder)
    if left_over is not None:  # one of the two died, or the machine was restarted
        _end(left_over)
    password, loader_password = (
        _secret(folder, name, secrets.token_urlsafe(24))
        for name in ("postgres-password", "loader-password")
    )
    key = _secret(folder, "account-key", b64encode(secrets.token_bytes(64)).decode())
    postgres_port, blob_port, queue_port = free_port(), free_port(), free_port()
    say(f"starting PostgreSQL at 127.0.0.1:{postgres_port}")
    postgres = outlive(
        start_postgres(folder / "postgres", port=postgres_port, password=password, durable=durable)
    )
    try:
        say(
            f"starting Azurite at 127.0.0.1:{blob_port} (blobs) and 127.0.0.1:{queue_port} (queues)"
        )
        azurite = outlive(
            start_azurite(
                folder / "azurite", blob_port=blob_port, queue_port=queue_port, account_key=key
            )
        )
    except BaseException:
        end_process(postgres, str(folder))
        raise
    services = Services(
        str(folder),
        postgres,
        postgres_port,
        password,
        loader_password,
        azurite,
        blob_port,
        queue_port,
        key,
    )
    _write_closed(folder / _STATE, json.dumps(asdict(services)))
    return services


def _end(services: Services) -> None:
    """End both. SIGINT is PostgreSQL's fast shutdown: it rolls back and closes its files."""
    for pid in (services.postgres_pid, services.azurite_pid):
        end_process(pid, services.folder)


def _read_state(folder: Path) -> Services | None:
    try:
        return Services(**json.loads((folder / _STATE).read_text("utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _secret(folder: Path, name: str, fresh: str) -> str:
    """Return the secret of this name. It is made once per folder and kept with the data."""
    path = folder / name
    if not path.exists():
        _write_closed(path, fresh)
    return path.read_text("utf-8")


def _write_closed(path: Path, text: str) -> None:
    """Write the file atomically, readable by its owner only."""
    making = path.with_name(f"{path.name}.making")
    making.touch(mode=0o600)
    making.write_text(text, encoding="utf-8")
    making.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local.services", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=default_folder(),
        help="folder of their data [default: one per checkout and user]",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="install what is missing, start nothing")
    commands.add_parser("start", help="start both, and make what the platform needs in them")
    commands.add_parser("status", help="print their addresses")
    stopping = commands.add_parser("stop", help="end both")
    stopping.add_argument("--remove", action="store_true", help="delete their data too")
    running = commands.add_parser("run", help="start both, then run a command on them")
    running.add_argument("arguments", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    given = parser.parse_args()
    try:
        _COMMANDS[given.command](given)
    except ServiceError as error:
        sys.exit(f"services: {error}")


def _command_install(given: argparse.Namespace) -> None:
    install_missing(_say)


def _command_start(given: argparse.Namespace) -> None:
    _print_addresses(_started(given.folder))


def _command_status(given: argparse.Namespace) -> None:
    services = find(given.folder)
    if services is None:
        raise ServiceError("not running; `make services` starts them")
    _print_addresses(services)


def _command_stop(given: argparse.Namespace) -> None:
    _say("stopped" if stop(given.folder, remove=given.remove) else "nothing was running")


def _command_run(given: argparse.Namespace) -> None:
    command = given.arguments[1:] if given.arguments[:1] == ["--"] else given.arguments
    if not command or shutil.which(command[0]) is None:
        raise ServiceError(
            f"run -- COMMAND: {command[0] if command else 'it'} is not on this machine"
        )
    environment = {**os.environ, **_started(given.folder).environment()}
    os.execvpe(command[0], command, environment)  # noqa: S606  # the caller's own command, no shell


_COMMANDS = {
    "install": _command_install,
    "start": _command_start,
    "status": _command_status,
    "stop": _command_stop,
    "run": _command_run,
}


def _started(folder: Path) -> Services:
    # Needs the project's libraries, which `stop` and `status` do without.
    from deploy.local.contents import fill

    services = start(folder, say=_say)
    fill(services, say=_say)
    return services


def _print_addresses(services: Services) -> None:
    """Print the addresses, without any secret."""
    _say(
        f"PostgreSQL  127.0.0.1:{services.postgres_port}, databases {DATABASE} and "
        f"{DAGSTER_DATABASE}, logins {ADMIN} and {LOADER}"
    )
    _say(f"Azurite     {services.account_url}, queues at 127.0.0.1:{services.queue_port}")
    _say(f"data        {services.folder}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # a command of its own


if __name__ == "__main__":
    main()
