"""A failed load leaves nothing: broken batches, lost connections, missing rights, kills."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql
from pydantic import SecretStr

from geo_platform.errors import DatabaseUnavailable, PlatformError, StoreDenied
from geo_platform.storage.postgres import postgis
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.postgis import PostgisFeatures
from tests.support.features import ask, load, numbered, publish, staged, target
from tests.support.servers import Logins, OwnPostgres

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def interrupted(
    after: int, interruption: Callable[[], None], *, more: int = 200
) -> Iterator[pa.RecordBatch]:
    """Yield batches, and call `interruption` after so many."""
    for number, batch in enumerate(numbered((after + more) * 1000)):
        if number == after:
            interruption()
        yield batch


def terminate(database: Logins) -> int:
    copies = "WHERE datname = current_database() AND query LIKE 'COPY %' AND state = 'active'"
    return len(
        ask(database.admin, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity {copies}")
    )


def in_future() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=1)


def test_broken_batches_leave_nothing(database: Logins, tmp_path: Path) -> None:
    def broken() -> None:
        raise ValueError("the source broke")

    with pytest.raises(ValueError, match="the source broke"):
        load(database.loader, target(), interrupted(30, broken), tmp_path)
    assert staged(database.admin) == []
    assert ask(
        database.admin,
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND query LIKE 'COPY %'",
    ) == [(0,)]


def test_an_interruption_ends_the_copies_too(database: Logins, tmp_path: Path) -> None:
    def stopped() -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        load(database.loader, target(), interrupted(30, stopped), tmp_path)
    assert threading.active_count() == before
    assert staged(database.admin) == []


def test_killed_connections_are_a_temporary_error_and_the_next_load_completes(
    database: Logins, tmp_path: Path
) -> None:
    with pytest.raises(DatabaseUnavailable) as fault:
        load(
            database.loader,
            target(),
            interrupted(30, lambda: _until(lambda: terminate(database) > 0)),
            tmp_path,
        )
    assert fault.value.retryable
    assert staged(database.admin) == []
    table = load(database.loader, target(), numbered(10), tmp_path)
    assert ask(database.admin, "SELECT count(*) FROM {}", table) == [(10,)]


def test_a_server_that_stops_during_a_load_is_a_temporary_error(
    own_postgres: OwnPostgres, tmp_path: Path
) -> None:
    logins = own_postgres.logins
    for stop in (own_postgres.stop, own_postgres.crash):
        with pytest.raises(DatabaseUnavailable) as fault:
            load(logins.loader, target(), interrupted(30, stop), tmp_path)
        assert fault.value.retryable
        with pytest.raises(DatabaseUnavailable):
            PostgisFeatures(logins.loader).check_free(target())
        own_postgres.start()
        left = staged(logins.admin)
        assert left == ["roads_ffffffff_0a1b2c3d"]
        assert PostgisFeatures(logins.loader).sweep(in_future()) == tuple(left)
        assert staged(logins.admin) == []
    table = load(logins.loader, target(), numbered(10), tmp_path)
    own_postgres.crash()
    own_postgres.start()
    assert ask(logins.admin, "SELECT count(*), max(n) FROM {}", table) == [(10, 9)]


@pytest.mark.parametrize("step", ["read_back", "run_in_parallel", "finalize"])
def test_a_connection_lost_after_the_last_row_leaves_nothing(
    database: Logins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    original = getattr(postgis, step)

    def lost(*arguments: Any, **named: Any) -> Any:
        original(*arguments, **named)
        raise DatabaseUnavailable("the connection is lost")

    monkeypatch.setattr(postgis, step, lost)
    with pytest.raises(DatabaseUnavailable, match="is lost"):
        load(database.loader, target(), numbered(10), tmp_path)
    assert staged(database.admin) == []


def test_a_login_without_the_role_is_refused_before_a_row_is_read(
    database: Logins, tmp_path: Path
) -> None:
    for login in (database.reader, database.stranger):
        store = PostgisFeatures(login)
        for attempt in (
            lambda store=store: store.check_free(target()),
            lambda store=store: store.load(target(), iter(()), scratch=tmp_path),
            lambda store=store: store.sweep(in_future()),
        ):
            with pytest.raises(StoreDenied, match="permission denied"):
                attempt()


def test_a_wrong_password_is_denied_and_never_printed(database: Logins) -> None:
    url = database.loader.url.get_secret_value()
    password = url.split(":")[2].partition("@")[0]
    for wrong in (
        url.replace(password, "Wr0ng-S3cret"),
        url.replace("test_loader", "nobody").replace(password, "Wr0ng-S3cret"),
    ):
        with pytest.raises(StoreDenied) as denied:
            PostgisFeatures(Database(SecretStr(wrong))).check_free(target())
        assert "Wr0ng-S3cret" not in _all_texts(denied.value)
        with pytest.raises(StoreDenied) as denied, Database(SecretStr(wrong)).connect_arrow():
            pass
        assert "Wr0ng-S3cret" not in _all_texts(denied.value)


def test_a_read_only_database_is_denied(database: Logins) -> None:
    with database.admin.connect() as connection:
        statement = "ALTER ROLE test_loader IN DATABASE {} SET default_transaction_read_only = on"
        connection.execute(sql.SQL(statement).format(sql.Identifier(database.name)))
    with pytest.raises(StoreDenied, match="read-only"):
        PostgisFeatures(database.loader).load(target(), numbered(3), scratch=Path())
    with database.admin.connect() as connection:
        statement = "ALTER ROLE test_loader IN DATABASE {} RESET default_transaction_read_only"
        connection.execute(sql.SQL(statement).format(sql.Identifier(database.name)))


def test_a_database_without_the_platform_is_reported_with_the_remedy(database: Logins) -> None:
    with database.admin.connect(autocommit=True) as connection:
        connection.execute("DROP SCHEMA geo_staging")
    with pytest.raises(StoreDenied) as denied:
        PostgisFeatures(database.loader).load(target(), numbered(3), scratch=Path())
    assert "geo-platform database init" in denied.value.remedy


def test_a_full_disk_and_too_many_connections_are_temporary(
    database: Logins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disk full and too many clients (SQLSTATE 53100 and 53300), raised by a trigger.

    Really filling the disk would stop the other tests.
    """
    original = postgis.create_table
    for state in ("53100", "53200", "53300"):

        def with_trigger(
            connection: psycopg.Connection,
            plan: Any,
            table: tuple[str, str],
            *,
            srid: int,
            state: str = state,
        ) -> None:
            original(connection, plan, table, srid=srid)
            body = (
                f"BEGIN RAISE EXCEPTION ''could not extend file'' USING ERRCODE = ''{state}''; END"
            )
            connection.execute(
                "CREATE OR REPLACE FUNCTION geo_staging.full() RETURNS trigger "
                f"LANGUAGE plpgsql AS '{body}'"
            )  # type: ignore[call-overload]
            statement = (
                "CREATE TRIGGER full_disk BEFORE INSERT ON {} "
                "FOR EACH ROW EXECUTE FUNCTION geo_staging.full()"
            )
            connection.execute(sql.SQL(statement).format(sql.Identifier(*table)))

        monkeypatch.setattr(postgis, "create_table", with_trigger)
        with pytest.raises(DatabaseUnavailable, match="could not extend file"):
            load(database.loader, target(), numbered(3000), tmp_path)
        assert staged(database.admin) == []


def test_the_sweep_drops_only_unpublished_tables(database: Logins, tmp_path: Path) -> None:
    store = PostgisFeatures(database.loader)
    published = load(database.loader, target(), numbered(3), tmp_path)
    publish(database.loader, published)
    whole = load(database.loader, target(fingerprint="e" * 32), numbered(3), tmp_path)
    half = store._begin(
        target(fingerprint="d" * 32), postgis.plan_table(target(fingerprint="d" * 32))
    ).plan.version
    with database.admin.connect() as connection:
        connection.execute("CREATE TABLE geo_staging.not_ours (n bigint)")
    assert store.sweep(LONG_AGO) == ()
    assert not store.holds(None, replace_version(whole, half))
    assert set(store.sweep(in_future())) == {whole.version, half}
    assert staged(database.admin) == ["not_ours"]
    assert ask(database.reader, "SELECT count(*) FROM geo.roads") == [(3,)]


def test_the_sweep_keeps_tables_in_use(database: Logins, tmp_path: Path) -> None:
    table = load(database.loader, target(), numbered(3), tmp_path)
    with database.other_loader.connect() as connection:
        connection.execute(
            sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(
                sql.Identifier("geo_staging", table.version)
            )
        )
        assert PostgisFeatures(database.loader).sweep(in_future()) == ()
    assert PostgisFeatures(database.other_loader).sweep(in_future()) == (table.version,)


def test_two_loads_of_one_dataset_are_independent(database: Logins, tmp_path: Path) -> None:
    found: list[Any] = []
    runs = [
        threading.Thread(
            target=lambda run=run: found.append(
                load(database.loader, target(run=run), numbered(5000), tmp_path)
            )
        )
        for run in ("aaaaaaaa", "bbbbbbbb")
    ]
    for thread in runs:
        thread.start()
    for thread in runs:
        thread.join()
    assert sorted(
        ask(database.admin, "SELECT count(*) FROM {}", table)[0][0] for table in found
    ) == [5000, 5000]


def test_a_new_crs_in_two_concurrent_loads_gets_one_srid(database: Logins, tmp_path: Path) -> None:
    own = "+proj=aeqd +lat_0=12.25 +lon_0=33.5 +datum=WGS84"
    found: list[Any] = []
    barrier = threading.Barrier(4)

    def one(run: str) -> None:
        barrier.wait()
        found.append(load(database.loader, target(run=run, crs=own), numbered(3), tmp_path))

    threads = [threading.Thread(target=one, args=(f"{number}0000000",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    srids = {
        ask(database.admin, "SELECT DISTINCT ST_SRID(geometry) FROM {}", table)[0][0]
        for table in found
    }
    assert len(found) == 4
    assert len(srids) == 1
    assert ask(database.admin, "SELECT count(*) FROM spatial_ref_sys WHERE srid >= 910000") == [
        (1,)
    ]


def replace_version(table: Any, version: str) -> Any:
    return table.model_copy(update={"version": version})


def _all_texts(error: PlatformError) -> str:
    texts, link = [], error
    while link is not None:
        texts += [str(link), repr(link), repr(getattr(link, "details", ""))]
        link = link.__cause__ or link.__context__  # type: ignore[assignment]
    return "\n".join(texts)


def _until(is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_done():
        assert time.monotonic() < deadline
        time.sleep(0.01)
