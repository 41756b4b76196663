"""The feature store on PostGIS. Each load creates a new table, which readers do not see yet:

    geo_staging."<dataset>_<fingerprint>_<run>"

This is the staged table. The catalog publishes it together with its item (`pgstac_publication.py`).
If a load is killed, its staged table remains, with a comment that it is being loaded. One of these
drops the table: the next attempt of the same run, the end of the run
(`geo_platform/orchestrator/left_staged.py`), or the sweep.

Called by `resources/production.py` and `storage/stores.py`.
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
    AppendBase,
    CopiedRows,
    NewRows,
    check_keys,
    copy_live_rows,
    find_base,
)
from geo_platform.storage.postgres.postgis_copy import CopyStreams, create_table, with_row_ids
from geo_platform.storage.postgres.postgis_finish import (
    Sent,
    check_rows,
    convert_to_jsonb,
    finalize,
    index_tasks,
    read_back,
    rewrite_in_order,
    run_in_parallel,
)
from geo_platform.storage.postgres.postgis_inventory import drop_staged
from geo_platform.storage.postgres.postgis_live import (
    APPEND,
    check_mode,
    check_schema,
    comment_when_complete,
    comment_while_loading,
    find_live,
    find_relations,
    load_start_utc,
)
from geo_platform.storage.postgres.postgis_order import (
    RunBoxes,
    should_rewrite_in_order,
    sort_in_runs,
)
from geo_platform.storage.postgres.postgis_plan import TablePlan, plan_table
from geo_platform.storage.postgres.postgis_session import loading
from geo_platform.storage.postgres.postgis_srid import srid_of

DESTINATION = "postgis"
_SWEEP_WAITS_S = 1
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Load:
    """A load in progress.

    `base` is the live table to which the mode append adds rows. It is None for other modes, and if
    no table is live under this name.
    """

    target: FeatureTarget
    plan: TablePlan
    started_at_utc: datetime
    srid: int = 0
    base: AppendBase | None = None

    @property
    def first_id(self) -> int:
        return 1 if self.base is None else self.base.last_id + 1

    def create(self, connection: psycopg.Connection, table: tuple[str, str]) -> None:
        """Create the empty table, with a comment that it is being loaded."""
        create_table(connection, self.plan, table, srid=self.srid)
        comment = comment_while_loading(self.target, self.plan.version, self.started_at_utc)
        connection.execute(
            statement("postgis_comment_table", table=table, text=sql.Literal(comment))
        )


class PostgisFeatures:
    """Implements `ports.FeatureStore` with tables of PostGIS.

    `connections` is the number of parallel connections of a load.
    Every method raises DatabaseUnavailable: the database does not answer or is busy. StoreDenied:
    the database refuses access, or the platform is not installed in it.
    """

    def __init__(self, database: Database, *, connections: int = 2) -> None:
        self._database = database
        self._connections = connections

    def check_free(self, target: FeatureTarget) -> None:
        """Check that the load mode allows replacing the live table, and that the login may load.

        Raises TableExists: the live table may not be replaced. ParameterInvalid: PostgreSQL cannot
        have these columns, or nothing can be published in the schema.
        """
        plan_table(target)
        with loading(self._database) as connection:
            check_schema(connection, target)
            check_mode(target, find_live(connection, target))

    def load(
        self, target: FeatureTarget, batches: Iterable[pa.RecordBatch], *, scratch: Path
    ) -> FeatureDataset:
        """Load the batches into a new staged table: create, send, verify, index, comment.

        If it raises, the table is dropped.
        Raises what `batches` raises. NoFeatures: there are no rows. FieldEncoding: a text contains
        the character NUL. TableExists: rows cannot be appended to the live table. ParameterInvalid:
        PostgreSQL cannot store a column, a value or the CRS, or the rows do not fit the live table.
        """
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
        """Return whether this version of the table is staged, live or replaced.

        A table of the mode append counts only if it is live, or if it is staged and the table that
        it is based on is still live. `stored` is ignored.
        """
        if table is None:
            return False
        live_place = (table.schema_name, table.table_name)
        staged_place = (STAGING_SCHEMA, table.version)
        with loading(self._database) as connection:
            relations = {
                relation.place: relation
                for relation in find_relations(
                    connection, [live_place, staged_place, (REPLACED_SCHEMA, table.version)]
                )
            }
        live = relations.pop(live_place, None)
        stored_table = next(
            (relation for relation in relations.values() if relation.version == table.version), None
        )
        if live is not None and live.version == table.version:
            return True
        if (
            stored_table is None
            or stored_table.comment is None
            or stored_table.comment.get("load_mode") != APPEND
        ):
            return stored_table is not None
        # If another version is live now, its rows are missing here: the append must be repeated.
        return stored_table.place == staged_place and stored_table.comment.get("base_version") == (
            live.version if live is not None else None
        )

    def sweep(self, older_than_utc: datetime) -> tuple[str, ...]:
        """Drop the staged tables whose load began before this time, and return their names.

        A table that another connection has locked is not dropped.
        """
        with loading(self._database) as connection:
            rows = connection.execute(
                statement("postgis_staged"), {"staging": STAGING_SCHEMA}
            ).fetchall()
        old_names = [
            str(name)
            for name, comment in rows
            if (started_at := load_start_utc(comment)) is not None and started_at < older_than_utc
        ]
        return tuple(
            name
            for name in old_names
            if drop_staged(self._database, name, lock_wait_s=_SWEEP_WAITS_S)
        )

    def _begin(self, target: FeatureTarget, plan: TablePlan) -> _Load:
        """Create the empty table. Drop the table of an earlier attempt of the same run."""
        load = _Load(target, plan, datetime.now(UTC))
        with loading(self._database) as connection:
            srid = srid_of(connection, target.crs)
            base = find_base(connection, target, plan, srid) if target.load_mode == APPEND else None
            connection.execute(statement("postgis_drop", table=plan.table))
            load = _Load(target, plan, load.started_at_utc, srid, base)
            load.create(connection, plan.table)
        return load

    def _send(self, load: _Load, batches: Iterable[pa.RecordBatch]) -> tuple[Sent, RunBoxes]:
        runs = RunBoxes()
        with CopyStreams(self._database, load.plan, self._connections) as streams:
            streams.send_all(
                sort_in_runs(
                    with_row_ids(batches, load.plan, load.first_id), load.plan.geometry_column, runs
                )
            )
        if streams.rows == 0:
            raise NoFeatures(f"No rows are left to publish in {load.target.dataset}.")
        return Sent(streams.rows, streams.bounds), runs

    def _finish(
        self, load: _Load, sent: Sent, runs: RunBoxes
    ) -> tuple[int, Bounds, tuple[Finding, ...]]:
        """Complete the table. Return the table's rows, and the bounds and findings of this load."""
        database, plan = self._database, load.plan
        jsonb_columns, findings = convert_to_jsonb(
            database, plan, plan.json_columns if load.base is None else load.base.jsonb_columns
        )
        new_rows = NewRows(load.srid, jsonb_columns, load.first_id, load.first_id + sent.rows - 1)
        verify = partial(read_back, database, plan, sent)
        copied = CopiedRows(None, 0, new_rows.last_id)
        if load.target.load_mode == APPEND:
            bounds = verify()
            check_keys(database, plan)
            copied = copy_live_rows(database, load.target, plan, new_rows)
            verify = partial(_recheck_rows, database, plan, sent.rows + copied.rows, bounds)
        if should_rewrite_in_order(runs):
            rewrite_in_order(database, plan, load.create)
        slowest, *others = index_tasks(database, plan, jsonb_columns)
        _, bounds, *_ = run_in_parallel([slowest, verify, *others], self._connections)
        self._finalize(load, sent.rows + copied.rows, copied)
        return sent.rows + copied.rows, bounds, findings

    def _finalize(self, load: _Load, rows: int, copied: CopiedRows) -> None:
        comment = comment_when_complete(
            load.target,
            load.plan.version,
            rows=rows,
            base_version=copied.version,
            started_at_utc=load.started_at_utc,
            loaded_at_utc=datetime.now(UTC),
        )
        finalize(self._database, load.plan, rows=rows, next_id=copied.last_id + 1, comment=comment)

    def _discard(self, plan: TablePlan) -> None:
        # If the database does not answer, the next attempt or the sweep drops the table.
        try:
            with loading(self._database) as connection:
                connection.execute(statement("postgis_drop", table=plan.table))
        except (DatabaseUnavailable, StoreDenied) as error:
            _LOG.warning("cannot drop the staged table %s; the sweep will: %s", plan.version, error)

    def _reference(self, target: FeatureTarget, plan: TablePlan, rows: int) -> TableReference:
        uri = f"postgresql://{self._database.place}?table={target.schema_name}.{target.dataset}"
        return TableReference(
            uri=uri,
            schema_name=target.schema_name,
            table_name=target.dataset,
            version=plan.version,
            rows=rows,
        )


def _recheck_rows(database: Database, plan: TablePlan, rows: int, bounds: Bounds) -> Bounds:
    """Check the number of rows after an append, and return the bounds of the new rows."""
    check_rows(database, plan, rows)
    return bounds
