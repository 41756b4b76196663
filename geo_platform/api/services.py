"""Compose the services that the routes use, and start and stop them.

`SubmissionLimiter` limits how many submissions are stored at once. A submission is stored before
the response is sent, and requests for a status must not wait until many submissions are stored.

Used by `api/jobs`, `api/serving` and `api`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

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
from geo_platform.ports import Catalog
from geo_platform.serving.features.feature_reader import open_feature_reader
from geo_platform.serving.features.kept_tiles import KeptTiles
from geo_platform.serving.features.opened import FeatureReader
from geo_platform.serving.public import PublicReading
from geo_platform.serving.published import PublishedItems
from geo_platform.serving.stac.stac_reader import StacReader, open_reader
from geo_platform.settings import Profile
from geo_platform.storage.stores import HomeStores, open_catalog
from geo_platform.trace.sources import Reach, TraceStores

if TYPE_CHECKING:
    from geo_platform.storage.postgres.connections import KeptConnections

# Submissions that are written at once: a storage account needs more time for a request than a
# disk. docs/decisions/0019 has the measurements.
DISK_CONCURRENCY, ACCOUNT_CONCURRENCY = 8, 24

# Idle connections for the catalog: as many as requests usually read it at the same time.
CATALOG_CONNECTIONS = 8

# Submissions that are being written or wait: some seconds' work.
MAX_PENDING = 400

T = TypeVar("T")


class SubmissionLimiter:
    """Limits concurrent submissions of this process. Safe among the tasks of one event loop."""

    def __init__(self, concurrency: int, *, max_pending: int = MAX_PENDING) -> None:
        self._limiter = CapacityLimiter(concurrency)
        self._max_pending = max_pending
        self._pending = 0

    @property
    def is_busy(self) -> bool:
        """Return whether the next submission has to wait."""
        return self._pending >= self._limiter.total_tokens

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread as soon as fewer than `concurrency` others run.

        Raises StoreUnavailable: `max_pending` submissions are pending. `work` is not run then.
        """
        if self._pending >= self._max_pending:
            raise StoreUnavailable(
                "Too many submissions at once.",
                remedy="Nothing of this request was stored. Send it again after the seconds that "
                "Retry-After names.",
                retry_after_s=1,
            )
        self._pending += 1
        try:
            return await run_sync(work, limiter=self._limiter)
        finally:
            self._pending -= 1


@dataclass(frozen=True)
class Services(HomeStores):
    """The services of one process, each opened at first use."""

    @cached_property
    def kept_connections(self) -> "KeptConnections | None":
        """The connections of the catalog between requests, or None in the embedded profile."""
        if self.settings.profile is not Profile.production:
            return None
        from geo_platform.storage.postgres.connections import KeptConnections

        return KeptConnections(CATALOG_CONNECTIONS)

    @cached_property
    def catalog(self) -> Catalog:
        return open_catalog(self.settings, kept=self.kept_connections)

    @cached_property
    def dagster(self) -> DagsterGraphql:
        return DagsterGraphql(self.settings.dagster_url)

    @cached_property
    def published(self) -> PublishedItems:
        return PublishedItems(self.catalog)

    @cached_property
    def submissions(self) -> Submissions:
        return Submissions(self.objects)

    @cached_property
    def submission_limiter(self) -> SubmissionLimiter:
        return SubmissionLimiter(DISK_CONCURRENCY if self.objects.is_local else ACCOUNT_CONCURRENCY)

    @cached_property
    def public(self) -> PublicReading:
        return PublicReading(self.objects)

    @cached_property
    def metrics(self) -> Metrics:
        return Metrics()

    @cached_property
    def dispatcher(self) -> Dispatcher:
        limiter = self.submission_limiter
        dispatcher = Dispatcher(
            self.submissions,
            self.dagster,
            launched=self.metrics.launched,
            is_pressed=lambda: limiter.is_busy,
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

    @cached_property
    def features(self) -> FeatureReader:
        """What reads the rows of published vector items."""
        return open_feature_reader(
            self.settings, self.objects, seconds=self.settings.features_seconds
        )

    @cached_property
    def kept_tiles(self) -> KeptTiles:
        """The tiles of low zooms that were drawn after their items were published."""
        return KeptTiles(self.objects, self.settings.tile_max_bytes)

    @cached_property
    def stac(self) -> StacReader:
        """What finds published items."""
        return open_reader(self.settings, self.catalog, self.published)

    def trace_stores(self) -> TraceStores:
        """Return the stores for one `trace` request. They record which of them did not respond."""
        return TraceStores(
            lambda: self.objects,
            lambda: self.catalog,
            lambda: GraphqlHistory(self.dagster),
            self.provenance,
            Reach(),
        )

    def start(self) -> None:
        """Start the dispatcher's threads."""
        self.dispatcher.start()

    def stop(self) -> None:
        """Stop the dispatcher, and close the connections to Dagster and for readers."""
        self.dispatcher.stop()
        self.dagster.close()
        if "features" in self.__dict__:
            self.features.close()
        if "stac" in self.__dict__:
            self.stac.close()
        if "catalog" in self.__dict__ and self.kept_connections is not None:
            self.kept_connections.close()
