"""Fixtures of the production profile, and fixtures that run a test on both profiles.

`servers.py` starts the servers. On a machine that cannot run them, a test skips loudly, or fails
where skips are forbidden.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local.processes import ServiceError
from deploy.local.services import Services
from geo_platform.ports import Catalog, ObjectStore
from geo_platform.settings import Profile, Settings
from geo_platform.storage.stores import open_catalog, open_objects
from tests.support import servers
from tests.support.servers import Blobs, Logins, OwnAzurite, OwnPostgres
from tests.support.skipping import cannot_run

_SESSION = pytest.StashKey[servers.Session]()


# For a test with many processes: files run in every suite, servers only in the slow one.
PRODUCTION_IS_SLOW = pytest.mark.parametrize(
    "profile",
    [Profile.embedded, pytest.param(Profile.production, marks=pytest.mark.slow)],
    ids=str,
    indirect=True,
)

# The same for a module whose tests share stores.
MODULE_IN_PRODUCTION_IS_SLOW = pytest.mark.parametrize(
    "module_profile",
    [Profile.embedded, pytest.param(Profile.production, marks=pytest.mark.slow)],
    ids=str,
    indirect=True,
    scope="module",
)


@dataclass(frozen=True)
class ProfileUnderTest:
    """A profile with stores of its own.

    `environment` is what a command needs besides its home; it is empty for files.
    """

    profile: Profile
    environment: Mapping[str, str]
    logins: Logins | None = None
    blobs: Blobs | None = None

    def settings(self, home: Path) -> Settings:
        """Return the settings that a command with `environment` reads on this home."""
        given = {
            name.removeprefix("GEO_PLATFORM_").lower(): value
            for name, value in self.environment.items()
        }
        return Settings.model_validate({**given, "home": home})

    def objects(self, home: Path) -> ObjectStore:
        """Open the same objects, to look at what was stored."""
        return open_objects(self.settings(home))

    def catalog(self, home: Path) -> Catalog:
        """Open the same catalog, to look at what was published."""
        return open_catalog(self.settings(home))


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.stash[_SESSION] = servers.Session()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Run last, however the session ended."""
    if _SESSION in config.stash:
        config.stash[_SESSION].end()


@pytest.fixture(scope="session")
def services() -> Services:
    """The session's PostgreSQL and Azurite, shared by all workers.

    Never stop them; a test may stop those of `own_postgres` and `own_azurite`.
    """
    with or_skip():
        return servers.shared_services()


@pytest.fixture
def database(services: Services) -> Iterator[Logins]:
    """A database of the test's own with the platform installed, as each login sees it."""
    with servers.own_database(services) as logins:
        yield logins


@pytest.fixture
def empty_database(services: Services) -> Iterator[Logins]:
    """An empty database of the test's own. The roles exist: they belong to the server."""
    with servers.own_database(services, template=servers.EMPTY) as logins:
        yield logins


@pytest.fixture
def blobs(services: Services) -> Iterator[Blobs]:
    """Containers of the test's own: bronze, silver, quarantine and messages, each with a prefix."""
    with servers.own_containers(services.connection_string) as own:
        yield own


@pytest.fixture
def production(services: Services) -> Iterator[ProfileUnderTest]:
    """The production profile on stores of the test's own, as the loader (no administrator)."""
    with _production(services) as profile:
        yield profile


@pytest.fixture(scope="module")
def module_production(services: Services) -> Iterator[ProfileUnderTest]:
    """The production profile on stores shared by a module's tests."""
    with _production(services) as profile:
        yield profile


@pytest.fixture(params=list(Profile), ids=str)
def profile(request: pytest.FixtureRequest) -> Iterator[ProfileUnderTest]:
    """Each profile in turn, on stores of the test's own."""
    with _profile(request) as under_test:
        yield under_test


@pytest.fixture(scope="module", params=list(Profile), ids=str)
def module_profile(request: pytest.FixtureRequest) -> Iterator[ProfileUnderTest]:
    """Each profile in turn, on stores shared by a module's tests."""
    with _profile(request) as under_test:
        yield under_test


@pytest.fixture
def own_postgres() -> Iterator[OwnPostgres]:
    """A running PostgreSQL with the platform, which the test may stop, crash and restart."""
    with or_skip(), servers.own_postgres() as server:
        yield server


@pytest.fixture
def own_azurite() -> Iterator[OwnAzurite]:
    """A running Azurite without containers, which the test may stop, crash and restart."""
    with or_skip(), servers.own_azurite() as server:
        yield server


@contextmanager
def _profile(request: pytest.FixtureRequest) -> Iterator[ProfileUnderTest]:
    if request.param is Profile.embedded:
        yield ProfileUnderTest(Profile.embedded, {})
        return
    with _production(request.getfixturevalue("services")) as under_test:
        yield under_test


@contextmanager
def _production(services: Services) -> Iterator[ProfileUnderTest]:
    with (
        servers.own_database(services) as logins,
        servers.own_dagster_database(services) as dagster_url,
        servers.own_containers(services.connection_string) as blobs,
    ):
        environment = {
            "GEO_PLATFORM_PROFILE": Profile.production.value,
            "GEO_PLATFORM_POSTGRES_URL": logins.loader.url.get_secret_value(),
            "GEO_PLATFORM_DAGSTER_POSTGRES_URL": dagster_url,
            "GEO_PLATFORM_BLOB_CONNECTION_STRING": blobs.connection_string,
            "GEO_PLATFORM_BLOB_CONTAINER_PREFIX": blobs.prefix,
        }
        yield ProfileUnderTest(Profile.production, environment, logins, blobs)


@contextmanager
def or_skip() -> Iterator[None]:
    """Skip the test, or fail it, if the servers are unavailable."""
    try:
        yield
    except ServiceError as error:
        cannot_run(str(error))
