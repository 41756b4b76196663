"""Arrow batches into one table by binary COPY, over several connections side by side, in bounded memory.

What belongs here: threads, the queue before them, what was sent. What stays out: the order of rows (`postgis_order.py`), and
what becomes of the table (`postgis_finish.py`).

Each connection is a transaction of its own, whose commit does not wait for the disk: the last transaction of the load does,
and with it everything before. Where one stream fails the others are broken off.

The empty table of a plan.

What belongs here: composing its columns. What stays out: which they are (`postgis_plan.py`), what is said of it
(`postgis_comment.py`).
"""

import queue
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

import adbc_driver_manager
import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from geo_platform.errors import FieldEncoding, PlatformError
from geo_platform.sql import statement
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.postgis_plan import TablePlan
from geo_platform.storage.postgres.postgis_session import (
    AS_LOADER,
    WITHOUT_TIME_LIMIT,
    WITHOUT_WAITING_FOR_DISK,
    refusal,
)
from geo_platform.wkb import EMPTY_BOUNDS, total_bounds


def create_table(
    connection: psycopg.Connection, plan: TablePlan, table: tuple[str, str], *, srid: int
) -> None:
    """Under the name given, which need not be the plan's. Types come from the plan's own few and are no data."""
    columns = [
        statement("postgis_column_id", column=plan.id_column),
        *(
            statement("postgis_column", column=field.name, type=sql.SQL(field.sql_type))
            for field in plan.fields
        ),
        statement(
            "postgis_column_geometry",
            column=plan.geometry_column,
            type=sql.SQL(plan.geometry_type),
            srid=sql.Literal(srid),
        ),
    ]
    connection.execute(
        statement("postgis_create", table=table, columns=sql.SQL(", ").join(columns))
    )


_WAIT_S = 0.1


class _BrokenOff(Exception):  # noqa: N818  # ends a stream whose load failed elsewhere; never seen outside
    pass


def numbered(
    batches: Iterable[pa.RecordBatch], plan: TablePlan, first_id: int
) -> Iterator[pa.RecordBatch]:
    """Rows with their number in the order of the source, which stays whatever order they lie in. Empty batches are left out."""
    number = first_id
    for batch in batches:
        ids = pa.array(np.arange(number, number + batch.num_rows))
        number += batch.num_rows
        if batch.num_rows:
            yield pa.RecordBatch.from_arrays(
                [ids, *(batch.column(name) for name in plan.column_names[1:])], schema=plan.schema
            )


class CopyStreams:
    """Used as a context: `send_all`. Leaving it before that is done breaks everything off. The first connection is
    opened at once, each of the others with another chunk: a small table needs one.

    Raises what the database says, as the platform's errors: DatabaseUnavailable, StoreDenied, FieldEncoding, ParameterInvalid.
    """

    def __init__(self, database: Database, plan: TablePlan, connections: int) -> None:
        self.rows = 0
        self.bounds = EMPTY_BOUNDS.copy()
        self._database = database
        self._plan = plan
        self._waiting: queue.Queue[pa.RecordBatch | None] = queue.Queue(maxsize=connections)
        self._is_over = threading.Event()
        self._faults: list[Exception] = []
        self._noting = threading.Lock()
        self._threads = [
            threading.Thread(target=self._copy, name=f"copy-{number}")
            for number in range(connections)
        ]

    def __enter__(self) -> Self:
        self._begin_another()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        for thread in self._begun:
            thread.join()

    def send_all(self, chunks: Iterable[pa.RecordBatch]) -> None:
        """Hand over chunks of the plan's schema, each once there is room; returns when all are committed.

        Raises what `chunks` raises, and the first fault of a stream.
        """
        for number, chunk in enumerate(chunks):
            _check_text(chunk)
            if number:
                self._begin_another()
            self._put(chunk)
        for _ in self._begun:
            self._put(None)
        for thread in self._begun:
            thread.join()
        self._raise_fault()

    @property
    def _begun(self) -> list[threading.Thread]:
        return [thread for thread in self._threads if thread.ident is not None]

    def _begin_another(self) -> None:
        waiting = next((thread for thread in self._threads if thread.ident is None), None)
        if waiting is not None:
            waiting.start()

    def _put(self, chunk: pa.RecordBatch | None) -> None:
        while True:
            self._raise_fault()
            try:
                self._waiting.put(chunk, timeout=_WAIT_S)
            except queue.Full:
                continue
            return

    def _raise_fault(self) -> None:
        if self._faults:
            raise self._faults[0]

    def _copy(self) -> None:
        try:
            with self._database.connect_arrow() as connection, connection.cursor() as cursor:
                for setting in (
                    AS_LOADER,
                    WITHOUT_TIME_LIMIT,
                    WITHOUT_WAITING_FOR_DISK,
                    statement("postgis_compression"),
                ):
                    cursor.execute(setting.as_string(None))
                schema, name = self._plan.table
                reader = pa.RecordBatchReader.from_batches(self._plan.schema, self._chunks())
                cursor.adbc_ingest(name, reader, mode="append", db_schema_name=schema)
                connection.commit()
        except Exception as error:  # noqa: BLE001  # raised in the thread that sends
            if not self._is_over.is_set():
                self._faults.append(_refused(error, self._database))
                self._is_over.set()

    def _chunks(self) -> Iterator[pa.RecordBatch]:
        while True:
            try:
                chunk = self._waiting.get(timeout=_WAIT_S)
            except queue.Empty:
                if self._is_over.is_set():
                    raise _BrokenOff from None
                continue
            if chunk is None:
                return
            bounds = total_bounds(chunk.column(self._plan.geometry_column))
            with self._noting:
                self.rows += chunk.num_rows
                self.bounds = np.concatenate(
                    [np.fmin(self.bounds[:2], bounds[:2]), np.fmax(self.bounds[2:], bounds[2:])]
                )
            yield chunk


def _check_text(chunk: pa.RecordBatch) -> None:
    for field, column in zip(chunk.schema, chunk.columns, strict=True):
        if pa.types.is_string(field.type) and pc.any(pc.match_substring(column, "\0")).as_py():
            raise FieldEncoding(
                f"A value of {field.name!r} holds the character NUL, which no text in PostgreSQL can.",
                remedy="Remove it from the source, or publish the column under binary data.",
                field=field.name,
            )


def _refused(error: Exception, database: Database) -> Exception:
    """What the server will not take of the data, as a refusal; any other error as it is."""
    if isinstance(error, PlatformError) or not isinstance(error, adbc_driver_manager.Error):
        return error
    refused = refusal(error, database)
    if refused is None:
        return error
    refused.__cause__ = error
    return refused
