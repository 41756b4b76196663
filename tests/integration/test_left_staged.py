"""The staged tables of ended runs in a real database: which are dropped, and which are kept."""

import json
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from psycopg import sql

from geo_platform.orchestrator.left_staged import discard_left_staged
from geo_platform.storage.postgres.postgis_inventory import PostgisInventory
from tests.support.in_process import DAGSTER_S_WARNINGS
from tests.support.publications import stage_table, tables
from tests.support.run_events import engine_messages
from tests.support.servers import Logins

pytestmark = DAGSTER_S_WARNINGS
_STATUS = dg.DagsterRunStatus
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
WHOLE, LOADING = "roads_whole", "roads_loading"


@dg.job
def some_job() -> None:
    """Only its name is used."""


def _run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> str:
    return instance.create_run_for_job(some_job, status=status).run_id


def _left_by(database: Logins, run_id: str) -> None:
    """Make a complete staged table and an incomplete one."""
    stage_table(database.loader, WHOLE, 1, run_id=run_id, started_at_utc=_BEGAN.isoformat())
    stage_table(database.loader, LOADING, 1)
    with database.admin.connect() as connection:
        comment = sql.Literal(json.dumps({"loading": LOADING, "run_id": run_id}))
        connection.execute(
            sql.SQL("COMMENT ON TABLE {} IS {}").format(
                sql.Identifier("geo_staging", LOADING), comment
            )
        )


def _published(database: Logins, name: str, *, began: datetime, **comment: str) -> None:
    """Publish a table of the same source and dataset, with changes in its `comment`."""
    stage_table(database.loader, name, 1, started_at_utc=began.isoformat(), **comment)
    with database.admin.connect() as connection:
        connection.execute(
            sql.SQL("ALTER TABLE {} SET SCHEMA geo").format(sql.Identifier("geo_staging", name))
        )


def _dropped(instance: dg.DagsterInstance, database: Logins) -> tuple[str, ...]:
    before = tables(database.admin, "geo_staging")
    dropped = discard_left_staged(instance, PostgisInventory(database.loader))
    assert tables(database.admin, "geo_staging") == before - {
        f"geo_staging.{name}" for name in dropped
    }
    return dropped


def test_tables_of_active_or_unknown_runs_are_kept(database: Logins) -> None:
    _published(database, "roads", began=_BEGAN + timedelta(hours=1))
    with dg.DagsterInstance.ephemeral() as instance:
        _left_by(database, "a run of another Dagster")
        assert _dropped(instance, database) == ()
        for status in (_STATUS.NOT_STARTED, _STATUS.STARTING, _STATUS.STARTED, _STATUS.CANCELING):
            with database.admin.connect() as connection:
                connection.execute("DROP TABLE geo_staging.roads_whole, geo_staging.roads_loading")
            _left_by(database, _run(instance, status))
            assert _dropped(instance, database) == (), status


@pytest.mark.parametrize("status", [_STATUS.FAILURE, _STATUS.CANCELED])
def test_an_incomplete_table_is_dropped_and_a_complete_one_is_kept_for_the_next_attempt(
    database: Logins, status: dg.DagsterRunStatus
) -> None:
    _published(database, "before", began=_BEGAN - timedelta(hours=1))
    _published(
        database,
        "another",
        began=_BEGAN + timedelta(hours=1),
        source_uri="https://store.example/bronze/other.gpkg",
    )
    with dg.DagsterInstance.ephemeral() as instance:
        run_id = _run(instance, status)
        _left_by(database, run_id)
        assert _dropped(instance, database) == (LOADING,)
        assert engine_messages(instance, run_id) == [
            f"The staged table {LOADING}, which this run left behind, was dropped."
        ]


def test_a_complete_table_is_dropped_after_a_later_load_is_published(
    database: Logins,
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        _left_by(database, _run(instance, _STATUS.FAILURE))
        _published(database, "roads", began=_BEGAN + timedelta(hours=1))
        under_way = _run(instance, _STATUS.STARTED)
        assert _dropped(instance, database) == (LOADING,), (
            "one that is under way may have found the whole one before"
        )
        run = instance.get_run_by_id(under_way)
        assert run is not None
        instance.report_run_failed(run, "over")
        assert _dropped(instance, database) == (WHOLE,)


def test_a_table_in_use_is_left_for_the_next_time(database: Logins) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        _left_by(database, _run(instance, _STATUS.FAILURE))
        with database.loader.connect() as connection:
            connection.execute("SET LOCAL ROLE geo_loader")
            connection.execute("LOCK TABLE geo_staging.roads_loading IN ROW EXCLUSIVE MODE")
            assert _dropped(instance, database) == ()
        assert _dropped(instance, database) == (LOADING,)
