"""No credential is written down: runs that go well and runs that fail on production stores, everything said at DEBUG, then all
that came of it is looked through for every credential in use, in whatever form.

The credentials hold letters that URLs, JSON and forms write otherwise, so that a leak in another form than the plain one is met.
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
# Kept by Dagster in its events too. SQLAlchemy, whose lines would be events that make lines, only
# goes to the log.
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
    """What is in use, and what was said so far."""

    home: Path
    profile: ProfileUnderTest
    services: Services
    login: str
    password: str
    dagster: str
    tracing: Mapping[str, str]
    said: dict[str, bytes] = field(default_factory=dict)
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
        """One more credential: to be found nowhere."""
        self.credentials.append(Credential(name, value))
        return value

    def database(self, name: str, password: str) -> str:
        return f"postgresql://{self.login}:{quote(password, safe='')}@127.0.0.1:{self.services.postgres_port}/{name}"

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
        """A command with the traceback of what fails; what it said, on either stream."""
        profile = ProfileUnderTest(self.profile.profile, self.environment(**changes))
        with commands(profile, self.home):
            ended = CliRunner().invoke(main, ["--home", str(self.home), *map(str, arguments)])
        self.said[f"output of command {len(self.said)}: {arguments[0]} {sorted(changes)}"] = (
            ended.output.encode()
        )
        return ended.output

    def places(self) -> dict[str, bytes]:
        """Everything that was said and stored, by where it is."""
        server = Path(self.services.folder)
        found = {**self.said, "Azurite's log": (server / "azurite.log").read_bytes()}
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
        yield _played(scene, folder, spans)


def _played(scene: Scene, folder: Path, spans: Collector) -> Scene:
    """All that is to be looked through has happened."""
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
        stop_tracing()  # what is on its way arrives
    scene.said["the log at DEBUG"] = "\n".join(lines).encode()
    scene.said["PostgreSQL's log"] = stored_text.since(log, written)
    scene.said["spans"] = b"\n".join(spans.bodies)
    return scene


def _password() -> str:
    """With letters that URLs, JSON, HTML and shells write otherwise; the middle is long enough to be met by itself."""
    return f"p%41 @:/?#&=+\"'\\<é>{secrets.token_urlsafe(24)}"


def _make_loud(home: Path) -> None:
    """The instance's own configuration, at DEBUG, for other libraries too. Commands take what is there."""
    text = Template((ROOT / "deploy" / "local" / "dagster.yaml").read_text("utf-8")).substitute(
        LOG_FILE=home / "logs" / "platform.jsonl"
    )
    loud = text.replace("INFO", "DEBUG").replace("[geo_platform]", f"[{', '.join(_LOUD)}]")
    assert loud.count("DEBUG") == 2
    (home / "dagster-production").mkdir(parents=True)
    (home / "dagster-production" / "dagster.yaml").write_text(loud, encoding="utf-8")


def _make_login(scene: Scene) -> None:
    """A login of this test's own, whose password is no other's. It goes with the server, its databases before it."""
    with psycopg.connect(scene.services.database_url("postgres"), autocommit=True) as connection:
        make_login(connection, scene.login, scene.password, LOADER_ROLE)
        connection.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(
                sql.Identifier(scene.dagster), sql.Identifier(scene.login)
            )
        )


@contextmanager
def _everything_logged() -> Iterator[list[str]]:
    """Every line of every logger, with its traceback, as the stream handlers of deployments write it."""
    lines: list[str] = []
    formatter = logging.Formatter("%(name)s %(message)s")

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(formatter.format(record))

    loggers = [
        logging.getLogger(),
        logging.getLogger("sqlalchemy.engine"),
    ]  # SQLAlchemy is silent unless it is asked by name
    before, handler = [logger.level for logger in loggers], Kept(logging.DEBUG)
    loggers[0].setLevel(logging.DEBUG)
    loggers[1].setLevel(
        logging.INFO
    )  # statements and what is bound to them; at DEBUG every row too, which the tables hold
    loggers[0].addHandler(handler)
    try:
        yield lines
    finally:
        loggers[0].removeHandler(handler)
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _runs_that_go_well(scene: Scene) -> None:
    said = scene.give("ingest", RASTER, VECTOR)
    assert said.count("published") == 2, said
    sas = _sas(
        scene,
        AccountSasPermissions(
            read=True, write=True, list=True, delete=True, add=True, create=True, tag=True
        ),
    )
    said = scene.give(
        "ingest",
        "--force",
        RASTER,
        "--traceback",
        BLOB_ACCOUNT_URL=scene.services.account_url,
        BLOB_SAS=sas,
    )
    assert "published" in said, said


def _runs_that_fail(scene: Scene, folder: Path) -> None:
    """Each is refused or fails where it is to, so that what is said of it is there to be looked through."""

    def fails(*arguments: str | Path, code: str, **changes: str) -> None:
        said = scene.give("ingest", *arguments, "--traceback", **changes)
        assert code in said, said

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
    # Of each: the first request is refused, or in the middle of a run the first that writes.
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
    no_key = scene.also("a key that is none", f"no/base64+{secrets.token_urlsafe(24)}!")
    fails(RASTER, code="", BLOB_ACCOUNT_URL=account, BLOB_KEY=no_key)
    nobody = scene.also(
        "a key of an account that is not there", b64encode(secrets.token_bytes(64)).decode()
    )
    unreadable = f"AccountName={ACCOUNT};AccountKey={nobody};BlobEndpoint"
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
        # As a person pastes it, not percent-encoded: parts of it would be taken for the host, the port or the database.
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
            )  # the run cannot make its stores


def _sas(scene: Scene, permission: Any) -> str:
    """A token for the whole account; its signature is the secret of it."""
    token: str = generate_account_sas(
        ACCOUNT,
        scene.services.account_key,
        ResourceTypes(service=True, container=True, object=True),
        permission,
        datetime.now(UTC) + timedelta(hours=1),
    )
    scene.also("a SAS token's signature", parse_qs(token)["sig"][0])
    return token


def test_no_credential_is_in_anything_that_was_said_or_stored(scene: Scene) -> None:
    places = scene.places()
    assert leaks(places, scene.credentials) == []
    # It was looked where things are: each of these would be empty if a part were not read.
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


def test_spans_are_among_what_was_looked_through(scene: Scene) -> None:
    assert b"raster_cog" in scene.said["spans"]
    assert b"STORE_DENIED" in scene.said["spans"]


@contextmanager
def planted(scene: Scene) -> Iterator[str]:
    """The platform's password in each kind of place, in a form of its own; the names of the places."""
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


def test_what_is_planted_is_found_wherever_it_lies(scene: Scene) -> None:
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
def test_every_form_of_a_credential_is_known_and_no_report_names_it(form: str) -> None:
    credential = Credential("one", _password())
    written = dict(credential.forms())[form]
    found = leaks(
        {"here": b"before " + written.upper() + b" after", "there": b"nothing"},
        [credential, Credential("two", _password())],
    )
    assert [(leak.place, leak.credential) for leak in found] == [("here", "one")]
    assert credential.value not in f"{found} {credential}"
