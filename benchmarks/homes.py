"""Give a benchmark an empty home on either profile."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.data import WORK
from deploy.local.contents import fill
from deploy.local.services import start, stop
from geo_platform.settings import Profile

_HOME = WORK / "home-of-profile"
# PostgreSQL's user can reach this folder.
_SERVERS = Path("/var/tmp/geo-platform-bench-servers")  # noqa: S108


@contextmanager
def home_of(profile: Profile) -> Iterator[dict[str, str]]:
    """Yield the environment of an empty home; remove all of it afterwards.

    On the production profile, start servers that wait for the disk.
    """
    shutil.rmtree(_HOME, ignore_errors=True)
    environment = {"GEO_PLATFORM_HOME": str(_HOME)}
    try:
        if profile is Profile.embedded:
            yield environment
            return
        try:
            services = start(_SERVERS)
            fill(services, say=lambda _: None)
            yield {**environment, **services.environment()}
        finally:
            stop(_SERVERS, remove=True)
    finally:
        shutil.rmtree(_HOME, ignore_errors=True)
