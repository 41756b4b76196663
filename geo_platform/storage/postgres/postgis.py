"""The feature store on PostGIS: each load makes a table of its own, whole and checked, where nobody looks until it is published.

What belongs here: the FeatureStore port, and the order of a load. What stays out: the steps (`postgis_*.py`), publishing
(the catalog's, since an item and its table become visible together).

    geo_staging."<dataset>_<fingerprint>_<run>"

What a killed load leaves is a staged table whose comment says that it is being loaded: the next attempt of the same run
drops it, and once the run is over, so does whoever looks after its end (`geo_platform/orchestrator/left_staged.py`), or the sweep.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psycopg
import pyarrow as pa
from psycopg import sql

from geo_platform.contracts.message import Finding, ObjectReference, TableReference
from geo_platform.errors import DatabaseUnavailable, NoFeatures, StoreDenied
from geo_platform.grid import Bounds
from geo_platform.ports import FeatureDataset, FeatureTarget
from geo_platform.sql import statement
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.names import REPLACED_SCHEMA, STAGING_SCHEMA
from geo_platform.storage.postgres.postgis_append import (
    Base,
    NewRows,
    TakenOver,
    check_keys,
    find_base,
    take_over,
)
from geo_platform.storage.postgres.postgis_copy import CopyStreams, create_table, numbered
from geo_platform.storage.postgres.postgis_finish import (
    Sent,
    check_rows,
    close,
    index_tasks,
    lay_out_anew,
    read_back,
    side_by_side,
    to_documents,
)
from geo_platform.storage.postgres.postgis_inventory import drop_staged
from geo_platform.storage.postgres.postgis_live import (
    APPEND,
    began_at_utc,
    check_mode,
    check_schema,
    comment_when_whole,
    comment_while_loading,
    find_live,
    lies_at,
)
from geo_platform.storage.postgres.postgis_order import Runs, in_runs, pays_to_lay_out_anew
from geo_platform.storage.postgres.postgis_plan import TablePlan, plan_table
from geo_platform.storage.postgres.postgis_session import loading
from geo_platform.storage.postgres.postgis_srid import srid_of

DESTINATION = "postgis"
_SWEEP_WAITS_S = 1
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Load:
    """One load under way. `base`: what an append builds on, None for other loads and where nothing is live."""

    target: FeatureTarget
    plan: TablePlan
    started_at_utc: datetime
    srid: int = 0
    base: Base | None = None

    @property
    def first_id(self) -> int:
        return 1 if self.base is None else self.base.last_id + 1

    def create(self, connection: psycopg.Connection, table: tuple[str, str]) -> None:
        """An empty table, which says that it is being loaded."""
        create_table(connection, self.plan, table, srid=self.srid)
        comment = comment_while_loading(self.target, self.plan.version, self.started_at_utc)
        connection.execute(
            statement("postgis_comment_table", table=table, text=sql.Literal(comment))
        )


class PostgisFeatures:
    """Implements `ports.FeatureStore` with tables of PostGIS."""

    def __init__(self, database: Database, *, connections: int = 2) -> None:
        self._database = database
        self._connections = connections

    def check_free(self, target: FeatureTarget) -> None:
        """What is live under the name, and whether the mode may take it. Also whether the login may load at all."""
        plan_table(target)
        with loading(self._database) as connection:
            check_schema(connection, target)
            check_mode(target, find_live(connection, target))

    def load(
        self, target: FeatureTarget, batches: Iterable[pa.RecordBatch], *, scratch: Path
    ) -> FeatureDataset:
        """Create, send, read back, index, describe. Errors: what `batches` raises, NoFeatures, and those of the port."""
        plan = plan_table(target)
        load = self._begin(target, plan)
        try:
            sent, runs = self._send(load, batches)
            rows, bounds, findings = self._finish(load, sent, runs)
        except BaseException:
            self._discard(plan)
            raise
        reference = self._reference(target, plan, rows)
        return FeatureDataset(
            DESTINATION, target.dataset, None, None, sent.rows, bounds, findings, reference
        )

    def holds(self, stored: ObjectReference | None, table: TableReference | None) -> bool:
        """Whether that version lies there whole. Of an append: whether it is, or can still become, what is live."""
        if table is None:
            return False
        live_place, staged_place = (
            (table.schema_name, table.table_name),
            (STAGING_SCHEMA, table.version),
        )
        with loading(self._database) as connection:
            found = {
                lies.place: lies
                for lies in lies_at(
                    connection, [live_place, staged_place, (REPLACED_SCHEMA, table.version)]
                )
            }
        live, lies = (
            found.pop(live_place, None),
            next((lies for lies in found.values() if lies.version == table.version), None),
        )
        if live is not None and live.version == table.version:
            return True
        if lies is None or lies.says is None or lies.says.get("load_mode") != APPEND:
            return lies is not None
        # An append that another version replaced has to be done again, on that version.
        return lies.place == staged_place and lies.says.get("base_version") == (
            live.version if live is not None else None
        )

    def sweep(self, older_than_utc: datetime) -> tuple[str, ...]:
        """Drop staged tables of ours. One that somebody works on is left to the next sweep."""
        with loading(self._database) as connection:
            staged = connection.execute(
                statement("postgis_staged"), {"staging": STAGING_SCHEMA}
            ).fetchall()
        old = [
            str(name)
            for name, comment in staged
            if (began := began_at_utc(comment)) is not None and began < older_than_utc
        ]
        return tuple(
            name for name in old if drop_staged(self._database, name, lock_wait_s=_SWEEP_WAITS_S)
        )

    def _begin(self, target: FeatureTarget, plan: TablePlan) -> _Load:
        """An empty table, in place of what an earlier attempt of the same run left."""
        load = _Load(target, plan, datetime.now(UTC))
        with loading(self._database) as connection:
            srid = srid_of(connection, target.crs)
            base = find_base(connection, target, plan, srid) if target.load_mode == APPEND else None
            connection.execute(statement("postgis_drop", table=plan.table))
            load = _Load(target, plan, load.started_at_utc, srid, base)
            load.create(connection, plan.table)
        return load

    def _send(self, load: _Load, batches: Iterable[pa.RecordBatch]) -> tuple[Sent, Runs]:
        runs = Runs()
        with CopyStreams(self._database, load.plan, self._connections) as streams:
            streams.send_all(
                in_runs(
                    numbered(batches, load.plan, load.first_id), load.plan.geometry_column, runs
                )
            )
        if streams.rows == 0:
            raise NoFeatures(f"No rows are left to publish in {load.target.dataset}.")
        return Sent(streams.rows, streams.bounds), runs

    def _finish(
        self, load: _Load, sent: Sent, runs: Runs
    ) -> tuple[int, Bounds, tuple[Finding, ...]]:
        """Rows of the whole table, bounds and findings of this load."""
        database, plan = self._database, load.plan
        documents, findings = to_documents(
            database, plan, plan.json_columns if load.base is None else load.base.documents
        )
        arrived = NewRows(load.srid, documents, load.first_id, load.first_id + sent.rows - 1)
        reading = partial(read_back, database, plan, sent)
        taken = TakenOver(None, 0, arrived.last_id)
        if load.target.load_mode == APPEND:
            bounds = reading()
            check_keys(database, plan)
            taken = take_over(database, load.target, plan, arrived)
            reading = partial(_once_more, database, plan, sent.rows + taken.rows, bounds)
        if pays_to_lay_out_anew(runs):
            lay_out_anew(database, plan, load.create)
        dearest, *others = index_tasks(database, plan, documents)
        _, bounds, *_ = side_by_side([dearest, reading, *others], self._connections)
        self._close(load, sent.rows + taken.rows, taken)
        return sent.rows + taken.rows, bounds, findings

    def _close(self, load: _Load, rows: int, taken: TakenOver) -> None:
        comment = comment_when_whole(
            load.target,
            load.plan.version,
            rows=rows,
            base_version=taken.version,
            started_at_utc=load.started_at_utc,
            loaded_at_utc=datetime.now(UTC),
        )
        close(self._database, load.plan, rows=rows, next_id=taken.last_id + 1, comment=comment)

    def _discard(self, plan: TablePlan) -> None:
        """Drop what a failed load made. Where the database is what failed, the next attempt or the sweep does it."""
        try:
            with loading(self._database) as connection:
                connection.execute(statement("postgis_drop", table=plan.table))
        except (DatabaseUnavailable, StoreDenied) as error:
            _LOG.warning("the staged table %s is left to the sweep: %s", plan.version, error)

    def _reference(self, target: FeatureTarget, plan: TablePlan, rows: int) -> TableReference:
        uri = f"postgresql://{self._database.place}?table={target.schema_name}.{target.dataset}"
        return TableReference(
            uri=uri,
            schema_name=target.schema_name,
            table_name=target.dataset,
            version=plan.version,
            rows=rows,
        )


def _once_more(database: Database, plan: TablePlan, rows: int, bounds: Bounds) -> Bounds:
    """The bounds of the new rows, once the old ones beside them are counted."""
    check_rows(database, plan, rows)
    return bounds
