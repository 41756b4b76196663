"""What the routes work with: the stores of one home, Dagster, and what is built on them. Composition, and its start and end.

What belongs here: opening and closing. What stays out: deciding anything.
"""

from dataclasses import dataclass
from functools import cached_property

from geo_platform.api.dagster_graphql import DagsterGraphql
from geo_platform.api.dispatcher import Dispatcher
from geo_platform.api.intake import Intake
from geo_platform.api.metrics import Metrics
from geo_platform.api.run_events import GraphqlHistory
from geo_platform.api.submissions import Submissions
from geo_platform.api.turns import OF_A_DISK, OF_AN_ACCOUNT, Turns
from geo_platform.arrivals.watch import read_watches
from geo_platform.ports import Catalog, ObjectStore
from geo_platform.settings import Profile, Settings
from geo_platform.storage.stores import open_catalog, open_objects
from geo_platform.trace.reach import Reach
from geo_platform.trace.sources import Provenance, Stores


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
        dispatcher = Dispatcher(self.submissions, self.dagster, launched=self.metrics.launched, is_pressed=lambda: turns.are_taken)
        self.metrics.count_waiting(lambda: dispatcher.waiting)
        return dispatcher

    @cached_property
    def intake(self) -> Intake:
        watches = read_watches(self.settings.watches)
        return Intake(self.objects, self.catalog, self.submissions, self.dagster, self.dispatcher, watches=watches)

    def trace_stores(self) -> Stores:
        """Of one question: who does not answer it is remembered for it alone."""

        def provenance() -> Provenance:
            from geo_platform.storage.postgres import database_of
            from geo_platform.storage.postgres_provenance import PostgresProvenance

            return PostgresProvenance(database_of(self.settings))

        asked = provenance if self.settings.profile is Profile.production else None
        return Stores(lambda: self.objects, lambda: self.catalog, lambda: GraphqlHistory(self.dagster), asked, Reach())

    def start(self) -> None:
        self.dispatcher.start()

    def stop(self) -> None:
        self.dispatcher.stop()
        self.dagster.close()
