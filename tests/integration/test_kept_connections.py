"""Connections kept open within a run: reused with their initial settings, replaced when dead."""

from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace

import adbc_driver_manager
import psycopg
import pytest
from psycopg.errors import DivisionByZero

from geo_platform.errors import DatabaseUnavailable
from geo_platform.storage.postgres.connections import MAX_IDLE, Database, KeptConnections
from tests.support.servers import Logins, OwnPostgres


@pytest.fixture
def kept() -> Iterator[KeptConnections]:
    with closing(KeptConnections()) as own:
        yield own


def backend(database: Database) -> int:
    with database.connect() as connection:
        return connection.info.backend_pid


def test_a_successful_use_leaves_its_connection_to_the_next(
    database: Logins, kept: KeptConnections
) -> None:
    own = replace(database.loader, run_id="ea2add4b", kept=kept)
    first = backend(own)
    with own.connect(autocommit=True) as connection:
        assert connection.info.backend_pid == first
        connection.execute("SET search_path TO pgstac, public")
        connection.execute("SET statement_timeout = 1234")
    with own.connect() as connection:
        row = connection.execute(
            "SELECT pg_backend_pid(), current_setting('statement_timeout'), "
            "current_setting('application_name')"
        ).fetchone()
        assert row == (first, "0", "geo_platform ea2add4b")
        assert connection.execute("SHOW search_path").fetchone() == ('"$user", public',)
        assert not connection.autocommit


def test_writes_are_committed_and_a_failed_use_is_rolled_back_and_closed(
    database: Logins, kept: KeptConnections
) -> None:
    own = replace(database.admin, kept=kept)
    with own.connect() as connection:
        connection.execute("CREATE TABLE public.kept (value int)")
        first = connection.info.backend_pid
    with pytest.raises(DivisionByZero), own.connect() as connection:
        connection.execute("INSERT INTO public.kept VALUES (1 / 0), (1)")
    with suppress(KeyError), own.connect() as connection:
        connection.execute("INSERT INTO public.kept VALUES (1)")
        raise KeyError("of the caller's")
    with own.connect() as connection:
        assert connection.info.backend_pid != first
        assert connection.execute("SELECT count(*) FROM public.kept").fetchone() == (0,)


def test_concurrent_uses_have_a_connection_each_and_only_some_are_kept(
    database: Logins, kept: KeptConnections
) -> None:
    own = replace(database.loader, kept=kept)
    opened = [own.connect() for _ in range(MAX_IDLE + 2)]
    pids = {context.__enter__().info.backend_pid for context in opened}
    for context in opened:
        context.__exit__(None, None, None)
    assert len(pids) == MAX_IDLE + 2
    with psycopg.connect(database.admin.url.get_secret_value()) as admin:
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)"
        for _ in range(200):  # a backend takes a moment to end
            if admin.execute(sessions, [list(pids)]).fetchone() == (MAX_IDLE,):
                return
    raise AssertionError("more connections were kept than may be")


def arrow_backend(database: Database) -> int:
    with database.connect_arrow() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_backend_pid() AS pid, current_setting('statement_timeout'), "
            "current_setting('application_name')"
        )
        row = cursor.fetchone()
        assert row is not None
        assert row[1:] == ("0", database.application_name)
        cursor.execute("SET statement_timeout = 1234")
        connection.commit()
        return int(row[0])


def test_a_load_leaves_its_connection_unchanged_to_the_next(
    database: Logins, kept: KeptConnections
) -> None:
    own = replace(database.loader, run_id="ea2add4b", kept=kept)
    first = arrow_backend(own)
    assert arrow_backend(own) == first
    with psycopg.connect(database.admin.url.get_secret_value(), autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", [first])
    assert arrow_backend(own) != first


def test_a_load_that_failed_or_was_not_committed_leaves_nothing(
    database: Logins, kept: KeptConnections
) -> None:
    with psycopg.connect(database.admin.url.get_secret_value(), autocommit=True) as admin:
        admin.execute("CREATE TABLE public.loaded (value int)")
    own = replace(database.admin, kept=kept)
    insert = "INSERT INTO public.loaded VALUES (1)"
    with own.connect_arrow() as connection, connection.cursor() as cursor:
        cursor.execute(insert)
    with suppress(KeyError), own.connect_arrow() as connection, connection.cursor() as cursor:
        cursor.execute(insert)
        raise KeyError("of the caller's")
    with (
        pytest.raises(adbc_driver_manager.Error),
        own.connect_arrow() as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("INSERT INTO public.loaded VALUES (1 / 0)")
    with own.connect_arrow() as connection, connection.cursor() as cursor:
        cursor.execute(insert)
        connection.commit()
    with own.connect() as rows:
        assert rows.execute("SELECT count(*) FROM public.loaded").fetchone() == (1,)


def test_connections_of_both_kinds_end_with_the_run(database: Logins) -> None:
    with closing(KeptConnections()) as own:
        named = replace(database.loader, run_id="ea2add4b", kept=own)
        backends = [backend(named), arrow_backend(named)]
    with psycopg.connect(database.admin.url.get_secret_value(), autocommit=True) as admin:
        for _ in range(200):  # a backend takes a moment to end
            if admin.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)", [backends]
            ).fetchone() == (0,):
                return
    raise AssertionError("a connection stayed open after the run")


def test_a_dead_connection_is_replaced_and_a_stopped_server_is_reported(
    own_postgres: OwnPostgres, kept: KeptConnections
) -> None:
    own = replace(own_postgres.logins.loader, kept=kept)
    first = backend(own)
    with psycopg.connect(
        own_postgres.logins.admin.url.get_secret_value(), autocommit=True
    ) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", [first])
    assert backend(own) != first
    own_postgres.stop()
    with pytest.raises(DatabaseUnavailable):
        backend(own)


def test_a_connection_in_use_at_the_end_of_the_run_is_closed_after_its_use(
    database: Logins, kept: KeptConnections
) -> None:
    with replace(database.loader, kept=kept).connect() as connection:
        kept.close()
    assert connection.closed
