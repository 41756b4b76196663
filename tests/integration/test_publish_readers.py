"""Publish beside readers, beside other publications, and with a cut connection: all or nothing."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from geo_platform.errors import Conflict, DatabaseUnavailable, PlatformError
from geo_platform.ports import ITEM_RESTORED_BY
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.pgstac import PgStac
from tests.support.command import ROOT
from tests.support.publications import COLLECTION, item, stage_table, tables
from tests.support.servers import Logins

COLLECTION_OF_TABLES = {**COLLECTION, "id": "vectors"}
# One statement that reads the item and the table that it names.
BOTH = """
SELECT i.content -> 'properties' ->> 'rows',
    i.content -> 'properties' ->> 'geo_platform:fingerprint',
    t.rows::text, t.version
FROM (SELECT count(*) AS rows, min(version) AS version FROM geo.roads) AS t, pgstac.items AS i
WHERE i.id = 'roads'
"""

ROWS = {"r1": 1000, "r2": 2000}


def document(
    version: str, item_id: str = "roads", table: str = "geo.roads", **more: Any
) -> dict[str, Any]:
    return item(
        item_id, version, collection="vectors", table=table, rows=ROWS.get(version, 0), **more
    )


def publish(catalog: PgStac, of: dict[str, Any], replaces: str | None) -> None:
    catalog.publish(COLLECTION_OF_TABLES, of, replaces=replaces)


@pytest.fixture
def catalog(database: Logins) -> PgStac:
    for version, rows in ROWS.items():
        stage_table(database.loader, version, rows)
    catalog = PgStac(database.loader, root_href=None)
    publish(catalog, document("r1"), None)
    return catalog


def swap_back_and_forth(catalog: PgStac, times: int) -> None:
    publish(catalog, document("r2"), "r1")
    for turn in range(times):
        version, replaces = ("r1", "r2") if turn % 2 == 0 else ("r2", "r1")
        publish(catalog, document(version, **{ITEM_RESTORED_BY: "a later run"}), replaces)


def read_while(
    database: Database, work: Callable[[], None], read: Callable[[psycopg.Connection], Any]
) -> list[Any]:
    """Return what a reader saw, over and over, while the work was done."""
    seen: list[Any] = []
    done = threading.Event()

    def watch() -> None:
        with database.connect(autocommit=True) as connection:
            while not done.is_set():
                seen.append(read(connection))

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        try:
            work()
        finally:
            done.set()
        watching.result()
    return seen


def whole(row: Any) -> bool:
    said_rows, said_version, rows, version = row
    return (said_rows, said_version) == (rows, version)


def test_one_statement_sees_the_old_or_the_new_and_never_half(
    catalog: PgStac, database: Logins
) -> None:
    seen = read_while(
        database.reader,
        lambda: swap_back_and_forth(catalog, 12),
        lambda reader: reader.execute(BOTH).fetchone(),
    )
    assert {row[3] for row in seen} == {"r1", "r2"}, (
        "the reader was too slow to see anything change"
    )
    assert [row for row in seen if not whole(row)] == []


def test_a_transaction_that_locks_the_table_first_sees_one_state(
    catalog: PgStac, database: Logins
) -> None:
    def read(reader: psycopg.Connection) -> tuple[Any, ...]:
        with reader.transaction():
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            reader.execute("LOCK TABLE geo.roads IN ACCESS SHARE MODE")
            comment = reader.execute(
                "SELECT content -> 'properties' ->> 'rows',"
                " content -> 'properties' ->> 'geo_platform:fingerprint'"
                " FROM pgstac.items WHERE id = 'roads'"
            ).fetchone()
            found = reader.execute("SELECT count(*)::text, min(version) FROM geo.roads").fetchone()
            return (*(comment or ()), *(found or ()))

    seen = read_while(database.reader, lambda: swap_back_and_forth(catalog, 12), read)
    assert {row[3] for row in seen} == {"r1", "r2"}, (
        "the reader was too slow to see anything change"
    )
    assert [row for row in seen if not whole(row)] == []


def test_two_items_of_one_table_are_published_one_after_the_other(
    catalog: PgStac, database: Logins
) -> None:
    """Both replace, in two collections. Neither waits forever, and the last one holds the table."""
    versions = [f"w{number}" for number in range(6)]
    for version in versions:
        stage_table(database.loader, version, 10, load_mode="replace", source_uri=version)
    barrier = threading.Barrier(len(versions))

    def attempt(version: str) -> str | None:
        barrier.wait()
        of = item(version, version, collection=f"of-{version}", table="geo.roads")
        try:
            PgStac(database.loader, root_href=None).publish(
                {**COLLECTION, "id": f"of-{version}"}, of, replaces=None
            )
        except PlatformError as error:
            return error.code
        return None

    with ThreadPoolExecutor(len(versions)) as pool:
        ended = list(pool.map(attempt, versions))
    assert ended == [None] * len(versions)
    (holder,) = catalog.entries()
    with database.reader.connect() as connection:
        assert connection.execute("SELECT DISTINCT version FROM geo.roads").fetchall() == [
            (holder.fingerprint,)
        ]
    assert {version.fingerprint for version in catalog.versions()} == {"r1", *versions} - {
        holder.fingerprint
    }
    assert tables(database.admin, "geo") == {"geo.roads"}


def test_two_runs_on_one_item_end_in_one_publication_and_one_conflict(
    catalog: PgStac, database: Logins
) -> None:
    stage_table(database.loader, "r3", 30)
    barrier = threading.Barrier(2)

    def attempt(version: str) -> bool:
        barrier.wait()
        try:
            publish(PgStac(database.loader, root_href=None), document(version), "r1")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        won = dict(zip(("r2", "r3"), pool.map(attempt, ("r2", "r3")), strict=True))
    assert sorted(won.values()) == [False, True]
    (entry,) = catalog.entries()
    assert won[entry.fingerprint]
    loser = next(version for version, is_published in won.items() if not is_published)
    assert tables(database.admin) == {"geo.roads", "geo_replaced.r1", f"geo_staging.{loser}"}


# A publication that pauses before it commits, when all is written and moved.
PAUSED = """
import sys
from pydantic import SecretStr
from geo_platform.storage.postgres import pgstac_publication
from geo_platform.storage.postgres.pgstac import PgStac
from geo_platform.storage.postgres.connections import Database
from tests.support.publications import COLLECTION, item

move_tables = pgstac_publication.move_tables

def then_wait(*arguments, **named):
    move_tables(*arguments, **named)
    print("moved", flush=True)
    sys.stdin.readline()

pgstac_publication.move_tables = then_wait
catalog = PgStac(Database(SecretStr(sys.argv[1]), "doomed"), root_href=None)
try:
    document = item("roads", "r2", collection="vectors", table="geo.roads")
    catalog.publish({**COLLECTION, "id": "vectors"}, document, replaces="r1")
except Exception as error:
    print(type(error).__name__, flush=True)
"""


@pytest.fixture
def paused(catalog: PgStac, database: Logins) -> Any:
    command = [sys.executable, "-c", PAUSED, database.loader.url.get_secret_value()]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=-1,
        stdout=-1,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "moved\n"
    yield process
    process.kill()
    process.communicate()


def the_old_state_is_intact(catalog: PgStac, database: Logins) -> None:
    with database.reader.connect() as connection:
        assert connection.execute(BOTH).fetchone() == ("1000", "r1", "1000", "r1")
    assert [entry.fingerprint for entry in catalog.entries()] == ["r1"]
    assert list(catalog.versions()) == []
    assert tables(database.admin) == {"geo.roads", "geo_staging.r2"}


def the_next_run_completes(catalog: PgStac, database: Logins) -> None:
    publish(catalog, document("r2"), "r1")
    with database.reader.connect() as connection:
        assert connection.execute(BOTH).fetchone() == ("2000", "r2", "2000", "r2")


def test_a_publisher_that_is_killed_leaves_everything_as_it_was(
    catalog: PgStac, database: Logins, paused: Any
) -> None:
    os.kill(paused.pid, signal.SIGKILL)
    paused.wait()
    the_old_state_is_intact(catalog, database)
    the_next_run_completes(catalog, database)


def test_a_cut_connection_is_a_transient_fault(
    catalog: PgStac, database: Logins, paused: Any
) -> None:
    with database.admin.connect() as connection:
        cut = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'geo_platform doomed'"
        )
        assert cut.fetchall() == [(True,)]
    printed, _ = paused.communicate("\n")
    assert printed == f"{DatabaseUnavailable.__name__}\n"
    the_old_state_is_intact(catalog, database)
    the_next_run_completes(catalog, database)


def test_a_collection_partitioned_by_year_takes_items_concurrently(
    catalog: PgStac, database: Logins
) -> None:
    with database.admin.connect() as connection:
        connection.execute("SET LOCAL search_path TO pgstac, public")
        connection.execute("UPDATE collections SET partition_trunc = 'year' WHERE id = 'vectors'")
    barrier = threading.Barrier(4)

    def attempt(year: int) -> None:
        barrier.wait()
        of = item(f"of-{year}", "v1", collection="vectors", datetime=f"{year}-05-05T00:00:00Z")
        publish(PgStac(database.loader, root_href=None), of, None)

    years = range(2001, 2005)
    with ThreadPoolExecutor(len(years)) as pool:
        list(pool.map(attempt, years))
    assert {entry.item_id for entry in catalog.entries()} == {
        "roads",
        *(f"of-{year}" for year in years),
    }
