"""Send Arrow batches to a table by binary COPY, over several connections in parallel.

At most a few batches are in memory. Each connection has a transaction of its own, whose commit does
not wait for the disk. The last transaction of the load waits for the disk, and makes all of them
durable (`postgis_finish.py`). If one stream fails, the others are aborted.

Called by `postgis.py`.
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
    ASYNC_COMMIT,
    NO_TIME_LIMIT,
    data_error,
)
from geo_platform.wkb import EMPTY_BOUNDS, total_bounds

_WAIT_S = 0.1


def create_table(
    connection: psycopg.Connection, plan: TablePlan, table: tuple[str, str], *, srid: int
) -> None:
    """Create the empty table of a plan under the name `table`, which may be another name.

    The statement contains SQL types unquoted. They come from a fixed list in `postgis_plan.py`.
    """
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


class _Aborted(Exception):  # noqa: N818  # internal: ends the other streams when one has failed
    pass


def with_row_ids(
    batches: Iterable[pa.RecordBatch], plan: TablePlan, first_id: int
) -> Iterator[pa.RecordBatch]:
    """Yield the batches with a column of row ids that count from `first_id`. Drop empty batches."""
    number = first_id
    for batch in batches:
        ids = pa.array(np.arange(number, number + batch.num_rows))
        number += batch.num_rows
        if batch.num_rows:
            yield pa.RecordBatch.from_arrays(
                [ids, *(batch.column(name) for name in plan.column_names[1:])], schema=plan.schema
            )


class CopyStreams:
    """Parallel COPY streams into one table, as a context manager: call `send_all` in the block.

    The first connection is opened when the block begins, and another one with each further chunk: a
    small table needs only one. An error in the block aborts all streams. `rows` and `bounds` are
    the number of sent rows, and xmin, ymin, xmax, ymax of their coordinates.
    """

    def __init__(self, database: Database, plan: TablePlan, connections: int) -> None:
        self.rows = 0
        self.bounds = EMPTY_BOUNDS.copy()
        self._database = database
        self._plan = plan
        self._queue: queue.Queue[pa.RecordBatch | None] = queue.Queue(maxsize=connections)
        self._must_stop = threading.Event()
        self._errors: list[Exception] = []
        self._totals_lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._copy, name=f"copy-{number}")
            for number in range(connections)
        ]

    def __enter__(self) -> Self:
        self._start_next()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._must_stop.set()
        for thread in self._started:
            thread.join()

    def send_all(self, chunks: Iterable[pa.RecordBatch]) -> None:
        """Send chunks of the plan's schema, and return when all streams have committed.

        Raises what `chunks` raises. FieldEncoding: a text contains the character NUL.
        ParameterInvalid: PostgreSQL cannot store a value. DatabaseUnavailable: the database does
        not answer or is busy. StoreDenied: it refuses access.
        """
        for number, chunk in enumerate(chunks):
            _check_text(chunk)
            if number:
                self._start_next()
            self._put(chunk)
        for _ in self._started:
            self._put(None)
        for thread in self._started:
            thread.join()
        self._raise_error()

    @property
    def _started(self) -> list[threading.Thread]:
        return [thread for thread in self._threads if thread.ident is not None]

    def _start_next(self) -> None:
        unstarted = next((thread for thread in self._threads if thread.ident is None), None)
        if unstarted is not None:
            unstarted.start()

    def _put(self, chunk: pa.RecordBatch | None) -> None:
        while True:
            self._raise_error()
            try:
                self._queue.put(chunk, timeout=_WAIT_S)
            except queue.Full:
                continue
            return

    def _raise_error(self) -> None:
        if self._errors:
            raise self._errors[0]

    def _copy(self) -> None:
        try:
            with self._database.connect_arrow() as connection, connection.cursor() as cursor:
                for setting in (
                    AS_LOADER,
                    NO_TIME_LIMIT,
                    ASYNC_COMMIT,
                    statement("postgis_compression"),
                ):
                    cursor.execute(setting.as_string(None))
                schema, name = self._plan.table
                reader = pa.RecordBatchReader.from_batches(self._plan.schema, self._chunks())
                cursor.adbc_ingest(name, reader, mode="append", db_schema_name=schema)
                connection.commit()
        except Exception as error:  # noqa: BLE001  # raised in the thread that sends
            if not self._must_stop.is_set():
                self._errors.append(_as_platform_error(error, self._database))
                self._must_stop.set()

    def _chunks(self) -> Iterator[pa.RecordBatch]:
        while True:
            try:
                chunk = self._queue.get(timeout=_WAIT_S)
            except queue.Empty:
                if self._must_stop.is_set():
                    raise _Aborted from None
                continue
            if chunk is None:
                return
            bounds = total_bounds(chunk.column(self._plan.geometry_column))
            with self._totals_lock:
                self.rows += chunk.num_rows
                self.bounds = np.concatenate(
                    [np.fmin(self.bounds[:2], bounds[:2]), np.fmax(self.bounds[2:], bounds[2:])]
                )
            yield chunk


def _check_text(chunk: pa.RecordBatch) -> None:
    for field, column in zip(chunk.schema, chunk.columns, strict=True):
        if pa.types.is_string(field.type) and pc.any(pc.match_substring(column, "\0")).as_py():
            raise FieldEncoding(
                f"A value of {field.name!r} contains the character NUL, which PostgreSQL cannot "
                "store in text.",
                remedy="Remove it from the source, or publish the column as binary data.",
                field=field.name,
            )


def _as_platform_error(error: Exception, database: Database) -> Exception:
    """Translate an error that is caused by the data; return any other error unchanged."""
    if isinstance(error, PlatformError) or not isinstance(error, adbc_driver_manager.Error):
        return error
    translated = data_error(error, database)
    if translated is None:
        return error
    translated.__cause__ = error
    return translated
