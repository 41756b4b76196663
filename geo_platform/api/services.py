"""What the routes work with: the stores of one home, Dagster, and what is built on them. Composition, and its start and end.

What belongs here: opening and closing. What stays out: deciding anything.

Taking turns at what is written down before it is answered: so many at once, and of the others no more than will have their turn soon.

What belongs here: how many, and the refusal of those beyond. What stays out: what is written (`intake.py`), and how often one client may
ask (`limits.py`).

Who asks how a job stands does not wait for these: it has threads of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from geo_platform.api.dagster.graphql import DagsterGraphql
from geo_platform.api.dagster.run_events import GraphqlHistory
from geo_platform.api.jobs.dispatcher import Dispatcher
from geo_platform.api.jobs.intake import Intake
from geo_platform.api.jobs.submissions import Submissions
from geo_platform.api.metrics import Metrics
from geo_platform.arrivals.watch import read_watches
from geo_platform.errors import StoreUnavailable
from geo_platform.ports import Catalog, ObjectStore
from geo_platform.settings import Profile, Settings
from geo_platform.storage.stores import open_catalog, open_objects
from geo_platform.trace.reach import Reach
from geo_platform.trace.sources import ProvenanceReader, TraceStores

# At once: a storage account answers each request after some milliseconds, a disk sooner. Not tuned:
# `docs/decisions/0019`.
OF_A_DISK, OF_AN_ACCOUNT = 8, 24

# At once and waiting: some seconds' work.
MOST = 400

T = TypeVar("T")


class Turns:
    """Of one process. Safe among the tasks of one event loop."""

    def __init__(self, at_once: int, *, most: int = MOST) -> None:
        self._limiter = CapacityLimiter(at_once)
        self._most = most
        self._present = 0

    @property
    def are_taken(self) -> bool:
        """Whether the next one has to wait."""
        return self._present >= self._limiter.total_tokens

    async def take(self, work: Callable[[], T]) -> T:
        """Do it in a thread, once it is its turn. Raises StoreUnavailable where too many are before it: nothing was done then."""
        if self._present >= self._most:
            remedy = "Nothing of this request was kept. Send it again after the seconds that Retry-After names."
            raise StoreUnavailable(
                "More is being submitted than can be written down.", remedy=remedy, retry_after_s=1
            )
        self._present += 1
        try:
            return await run_sync(work, limiter=self._limiter)
        finally:
            self._present -= 1


@dataclass(frozen=True)
class Services:
    """Of one process."""

    settings: Settings

    @cached_property
    def objects(self) -> ObjectStore:
        return open_objects(self.settings)

    @cached_property
    def catalog(self) -> Catalog:
        return open_catalog(self.settings)

    @cached_property
    def dagster(self) -> DagsterGraphql:
        return DagsterGraphql(self.settings.dagster_url)

    @cached_property
    def submissions(self) -> Submissions:
        return Submissions(self.objects)

    @cached_property
    def turns(self) -> Turns:
        return Turns(OF_A_DISK if self.objects.is_local else OF_AN_ACCOUNT)

    @cached_property
    def metrics(self) -> Metrics:
        return Metrics()

    @cached_property
    def dispatcher(self) -> Dispatcher:
        turns = self.turns
        dispatcher = Dispatcher(
            self.submissions,
            self.dagster,
            launched=self.metrics.launched,
            is_pressed=lambda: turns.are_taken,
        )
        self.metrics.count_waiting(lambda: dispatcher.waiting)
        return dispatcher

    @cached_property
    def intake(self) -> Intake:
        watches = read_watches(self.settings.watches)
        return Intake(
            self.objects,
            self.catalog,
            self.submissions,
            self.dagster,
            self.dispatcher,
            watches=watches,
        )

    def trace_stores(self) -> TraceStores:
        """Of one question: who does not answer it is remembered for it alone."""

        def provenance() -> ProvenanceReader:
            from geo_platform.storage.postgres.connections import database_of
            from geo_platform.storage.postgres.provenance import PostgresProvenance

            return PostgresProvenance(database_of(self.settings))

        asked = provenance if self.settings.profile is Profile.production else None
        return TraceStores(
            lambda: self.objects,
            lambda: self.catalog,
            lambda: GraphqlHistory(self.dagster),
            asked,
            Reach(),
        )

    def start(self) -> None:
        self.dispatcher.start()

    def stop(self) -> None:
        self.dispatcher.stop()
        self.dagster.close()
