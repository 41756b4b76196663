"""No credential is written anywhere.

Runs on production stores succeed and fail with everything logged at DEBUG; then all output and all
stored data are searched for every credential in use, in every form. The credentials contain
characters that URLs, JSON and forms encode, so that encoded leaks are found too.
"""

import logging
import secrets
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import parse_qs, quote

import numpy as np
import psycopg
import pytest
import rasterio
from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas
from click.testing import CliRunner
from psycopg import sql

from deploy.local.contents import make_login
from deploy.local.servers import ACCOUNT
from deploy.local.services import Services
from geo_platform.cli.main import main
from geo_platform.storage.postgres.names import LOADER_ROLE
from geo_platform.telemetry.tracing_export import stop_tracing
from tests.support import stored_text
from tests.support.command import ROOT, SAMPLES
from tests.support.in_process import DAGSTER_S_WARNINGS, commands
from tests.support.leaks import Credential, leaks
from tests.support.production import ProfileUnderTest
from tests.support.servers import Blobs, Logins
from tests.support.spans import Collector, collector

pytestmark = DAGSTER_S_WARNINGS

RASTER, VECTOR = SAMPLES / "san_francisco_landsat7.tif", SAMPLES / "natural_earth_countries.shp.zip"
# Dagster stores these loggers' lines in its events too. SQLAlchemy only goes to the log, because
# its lines would be events that cause further lines.
_LOUD = [
    "geo_platform",
    "azure",
    "urllib3",
    "psycopg",
    "pypgstac",
    "rasterio",
    "pyogrio",
    "fiona",
    "opentelemetry",
]


@dataclass
class Scene:
    """The credentials in use, and all output so far."""

    home: Path
    profile: ProfileUnderTest
    services: Services
    login: str
    password: str
    dagster: str
    tracing: Mapping[str, str]
    output: dict[str, bytes] = field(default_factory=dict)
    credentials: list[Credential] = field(default_factory=list)

    @property
    def blobs(self) -> Blobs:
        assert self.profile.blobs is not None
        return self.profile.blobs

    @property
    def logins(self) -> Logins:
        assert self.profile.logins is not None
        return self.profile.logins

    def also(self, name: str, value: str) -> str:
        """Add a credential that must appear nowhere."""
        self.credentials.append(Credential(name, value))
        return value

    def database(self, name: str, password: str) -> str:
        port = self.services.postgres_port
        return f"postgresql://{self.login}:{quote(password, safe='')}@127.0.0.1:{port}/{name}"

    def environment(self, **changes: str) -> dict[str, str]:
        given = {
            **self.profile.environment,
            **self.tracing,
            "GEO_PLATFORM_POSTGRES_URL": self.database(self.logins.name, self.password),
            "GEO_PLATFORM_DAGSTER_POSTGRES_URL": self.database(self.dagster, self.password),
            **{f"GEO_PLATFORM_{name}": value for name, value in changes.items()},
        }
        if "BLOB_SAS" in changes or "BLOB_KEY" in changes:
            del given["GEO_PLATFORM_BLOB_CONNECTION_STRING"]
        return given

    def give(self, *arguments: str | Path, **changes: str) -> str:
        """Run a command with tracebacks; return what it wrote to either stream."""
        profile = ProfileUnderTest(self.profile.profile, self.environment(**changes))
        with commands(profile, self.home):
            ended = CliRunner().invoke(main, ["--home", str(self.home), *map(str, arguments)])
        self.output[f"output of command {len(self.output)}: {arguments[0]} {sorted(changes)}"] = (
            ended.output.encode()
        )
        return ended.output

    def places(self) -> dict[str, bytes]:
        """Return all output and stored data, by place."""
        server = Path(self.services.folder)
        found = {**self.output, "Azurite's log": (server / "azurite.log").read_bytes()}
        for name in (self.logins.name, self.dagster):
            found.update(stored_text.of_database(self.services.database_url(name), name))
        found.update(stored_text.of_containers(self.blobs))
        found.update(stored_text.of_folder(self.home))
        return found


@pytest.fixture(scope="module")
def scene(
    module_production: ProfileUnderTest,
    services: Services,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("secrets")
    url = module_production.environment["GEO_PLATFORM_DAGSTER_POSTGRES_URL"]
    dagster = url.rpartition("/")[2].partition("?")[0]
    with collector() as spans:
        token = secrets.token_urlsafe(24)
        login, tracing = f"login_{secrets.token_hex(4)}", spans.environment(token)
        scene = Scene(
            folder / "home", module_production, services, login, _password(), dagster, tracing
        )
        scene.also("the collector's token", token)
        yield _run_everything(scene, folder, spans)


def _run_everything(scene: Scene, folder: Path, spans: Collector) -> Scene:
    """Run everything that is to be searched."""
    scene.also("the platform's password", scene.password)
    scene.also("the servers' administrator's password", scene.services.postgres_password)
    scene.also("the account's key", scene.services.account_key)
    _make_loud(scene.home)
    _make_login(scene)
    log = Path(scene.services.folder) / "postgres.log"
    written = log.stat().st_size
    with _everything_logged() as lines:
        _runs_that_go_well(scene)
        _runs_that_fail(scene, folder)
        stop_tracing()  # deliver the pending spans
    scene.output["the log at DEBUG"] = "\n".join(lines).encode()
    scene.output["PostgreSQL's log"] = stored_text.since(log, written)
    scene.output["spans"] = b"\n".join(spans.bodies)
    return scene


def _password() -> str:
    """Return a password with characters that URLs, JSON, HTML and shells encode.

    Its middle is long enough to be found by itself.
    """
    return f"p%41 @:/?#&=+\"'\\<é>{secrets.token_urlsafe(24)}"


def _make_loud(home: Path) -> None:
    """Set the instance's configuration to DEBUG, for other libraries too; commands keep it."""
    text = Template((ROOT / "deploy" / "local" / "dagster.yaml").read_text("utf-8")).substitute(
        LOG_FILE=home / "logs" / "platform.jsonl"
    )
    loud = text.replace("INFO", "DEBUG").replace("[geo_platform]", f"[{', '.join(_LOUD)}]")
    assert loud.count("DEBUG") == 2
    (home / "dagster-production").mkdir(parents=True)
    (home / "dagster-production" / "dagster.yaml").write_text(loud, encoding="utf-8")


def _make_login(scene: Scene) -> None:
    """Create a login of this test's own with its own password; it ends with the server."""
    with psycopg.connect(scene.services.database_url("postgres"), autocommit=True) as connection:
        make_login(connection, scene.login, scene.password, LOADER_ROLE)
        connection.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(
                sql.Identifier(scene.dagster), sql.Identifier(scene.login)
            )
        )


@contextmanager
def _everything_logged() -> Iterator[list[str]]:
    """Collect every line of every logger with its traceback, as deployments' stream handlers write
    it.
    """
    lines: list[str] = []
    formatter = logging.Formatter("%(name)s %(message)s")

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(formatter.format(record))

    loggers = [
        logging.getLogger(),
        logging.getLogger("sqlalchemy.engine"),
    ]  # SQLAlchemy logs only if named
    before, handler = [logger.level for logger in loggers], Kept(logging.DEBUG)
    loggers[0].setLevel(logging.DEBUG)
    loggers[1].setLevel(logging.INFO)  # statements and parameters; DEBUG would add every row
    loggers[0].addHandler(handler)
    try:
        yield lines
    finally:
        loggers[0].removeHandler(handler)
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _runs_that_go_well(scene: Scene) -> None:
    printed = scene.give("ingest", RASTER, VECTOR)
    assert printed.count("published") == 2, printed
    sas = _sas(
        scene,
        AccountSasPermissions(
            read=True, write=True, list=True, delete=True, add=True, create=True, tag=True
        ),
    )
    printed = scene.give(
        "ingest",
        "--force",
        RASTER,
        "--traceback",
        BLOB_ACCOUNT_URL=scene.services.account_url,
        BLOB_SAS=sas,
    )
    assert "published" in printed, printed


def _runs_that_fail(scene: Scene, folder: Path) -> None:
    """Make each command be refused or fail where it is meant to, so that its messages can be
    searched.
    """

    def fails(*arguments: str | Path, code: str, **changes: str) -> None:
        printed = scene.give("ingest", *arguments, "--traceback", **changes)
        assert code in printed, printed

    letter, nowhere = folder / "letter.tif", folder / "nowhere.tif"
    letter.write_text("Dear reader, this is no raster.")
    shape = {
        "driver": "GTiff",
        "width": 16,
        "height": 16,
        "count": 1,
        "dtype": "uint8",
        "transform": rasterio.Affine(1, 0, 0, 0, -1, 16),
    }
    with rasterio.open(nowhere, "w", **shape) as dataset:
        dataset.write(np.arange(256, dtype="uint8").reshape(1, 16, 16))
    fails(letter, code="UNSUPPORTED_FORMAT")
    fails(nowhere, code="CRS_MISSING")
    account = scene.services.account_url
    # In each case the first request is refused, or the first write in the middle of a run.
    fails(
        RASTER,
        code="STORE_DENIED",
        BLOB_ACCOUNT_URL=account,
        BLOB_SAS=_sas(scene, AccountSasPermissions(list=True)),
    )
    read_only = _sas(scene, AccountSasPermissions(read=True, list=True))
    fails("--force", RASTER, code="STORE_DENIED", BLOB_ACCOUNT_URL=account, BLOB_SAS=read_only)
    wrong_key = scene.also("a wrong key", b64encode(secrets.token_bytes(64)).decode())
    fails(RASTER, code="STORE_DENIED", BLOB_ACCOUNT_URL=account, BLOB_KEY=wrong_key)
    no_key = scene.also("an invalid key", f"no/base64+{secrets.token_urlsafe(24)}!")
    fails(RASTER, code="", BLOB_ACCOUNT_URL=account, BLOB_KEY=no_key)
    unknown_key = scene.also(
        "a key of a missing account", b64encode(secrets.token_bytes(64)).decode()
    )
    unreadable = f"AccountName={ACCOUNT};AccountKey={unknown_key};BlobEndpoint"
    fails(RASTER, code="STORE_DENIED", BLOB_CONNECTION_STRING=unreadable)
    wrong = scene.also("a wrong password", _password())
    fails(
        "--force",
        VECTOR,
        code="STORE_DENIED",
        POSTGRES_URL=scene.database(scene.logins.name, wrong),
    )
    fails(
        VECTOR, code="STORE_DENIED", POSTGRES_URL=scene.database("no_such_database", scene.password)
    )
    fails(
        RASTER,
        "--force",
        code="STORE_DENIED",
        DAGSTER_POSTGRES_URL=scene.database(scene.dagster, wrong),
    )
    for number, between in enumerate(("@", "/", ":", "?", "%z", "#", " ", "@/")):
        # Pasted without percent-encoding: parts of it could be taken for the host, the port or the
        # database.
        parts = [
            scene.also(f"part {part} of password {number}, not encoded", secrets.token_hex(12))
            for part in range(2)
        ]
        pasted = f"postgresql://{scene.login}:{between.join(parts)}@127.0.0.1:{scene.services.postgres_port}/{scene.logins.name}"
        fails(VECTOR, code="STORE_DENIED", POSTGRES_URL=pasted)
        if between in ("@", "%z"):
            fails("--force", VECTOR, code="STORE_DENIED", DAGSTER_POSTGRES_URL=pasted)
            fails(
                "--force", VECTOR, code="UNEXPECTED_FAULT", POSTGRES_URL=pasted
            )  # the run cannot open its stores


def _sas(scene: Scene, permission: Any) -> str:
    """Return a token for the whole account; its signature is secret."""
    token: str = generate_account_sas(
        ACCOUNT,
        scene.services.account_key,
        ResourceTypes(service=True, container=True, object=True),
        permission,
        datetime.now(UTC) + timedelta(hours=1),
    )
    scene.also("a SAS token's signature", parse_qs(token)["sig"][0])
    return token


def test_no_credential_is_in_any_output_or_stored_data(scene: Scene) -> None:
    places = scene.places()
    assert leaks(places, scene.credentials) == []
    # Check that the search read every part: each of these would be empty otherwise.
    for name, held in (
        ("the log at DEBUG", b"azure.core.pipeline.policies"),
        ("the log at DEBUG", b"sqlalchemy.engine"),
        ("the log at DEBUG", b"STORE_DENIED"),
        ("PostgreSQL's log", b"password authentication failed"),
        (f"{scene.dagster}: public.event_logs", b"STORE_DENIED"),
        (f"{scene.dagster}: public.event_logs", b"Request URL: "),
        (f"{scene.logins.name}: geo_platform.provenance", b"publish"),
        ("logs/platform.jsonl", b"STORE_DENIED"),
    ):
        assert held in places[name], f"{held!r} is not in {name}"
    assert any(place.startswith(f"metadata of {scene.blobs.prefix}messages") for place in places)


def test_spans_are_searched(scene: Scene) -> None:
    assert b"raster_cog" in scene.output["spans"]
    assert b"STORE_DENIED" in scene.output["spans"]


@contextmanager
def planted(scene: Scene) -> Iterator[str]:
    """Plant the platform's password in each kind of place, in a different form each; yield the
    places.
    """
    secret = scene.password
    with ExitStack() as stack:
        objects = scene.profile.objects(scene.home)
        objects.put_bytes(
            "messages",
            "planted",
            b64encode(f"postgresql://u:{secret}@h".encode()),
            metadata={"note": quote(secret)},
        )
        stack.callback(objects.delete, "messages", "planted")
        file = scene.home / "logs" / "planted"
        file.write_text(repr({"url": secret}))
        stack.callback(file.unlink)
        connection = stack.enter_context(
            psycopg.connect(scene.services.database_url(scene.dagster), autocommit=True)
        )
        connection.execute("CREATE TABLE planted (body bytea, said text)")
        stack.callback(connection.execute, "DROP TABLE planted")
        connection.execute(
            "INSERT INTO planted VALUES (%s, %s)",
            [zlib.compress(secret.encode()), quote(secret, safe="").lower()],
        )
        yield secret


def test_planted_credentials_are_found_in_every_place(scene: Scene) -> None:
    messages = f"{scene.blobs.prefix}messages/planted"
    with planted(scene):
        found = leaks(scene.places(), scene.credentials)
    assert {leak.credential for leak in found} == {"the platform's password"}
    assert {leak.place for leak in found} == {
        messages,
        f"metadata of {messages}",
        "logs/planted",
        f"{scene.dagster}: public.planted, body 0",
        f"{scene.dagster}: public.planted",
    }


@pytest.mark.parametrize("form", [name for name, _ in Credential("any", "a").forms()])
def test_every_form_of_a_credential_is_found_and_no_report_shows_it(form: str) -> None:
    credential = Credential("one", _password())
    written = dict(credential.forms())[form]
    found = leaks(
        {"here": b"before " + written.upper() + b" after", "there": b"nothing"},
        [credential, Credential("two", _password())],
    )
    assert [(leak.place, leak.credential) for leak in found] == [("here", "one")]
    assert credential.value not in f"{found} {credential}"
