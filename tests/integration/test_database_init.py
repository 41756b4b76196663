"""`geo-platform database init|check` on real databases: result, output and permissions."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from deploy.local.contents import install_platform
from deploy.local.services import Services
from geo_platform import errors
from geo_platform.sql import statement
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.installation import VERSIONS, check, install
from geo_platform.storage.postgres.names import LOADER_ROLE
from tests.support.command import Ended, geo_platform
from tests.support.servers import EXTRA_SCHEMA, Logins, OwnPostgres, own_database

COLLECTION = {
    "type": "Collection", "id": "vectors", "stac_version": "1.1.0",
    "description": "", "license": "other", "links": [],
    "extent": {
        "spatial": {"bbox": [[0, 0, 1, 1]]},
        "temporal": {"interval": [["2020-01-01T00:00:00Z", None]]},
    },
}  # fmt: skip
ITEM = {
    "type": "Feature", "stac_version": "1.1.0", "id": "roads", "collection": "vectors",
    "bbox": [0, 0, 1, 1], "links": [], "assets": {},
    "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]},
    "properties": {"datetime": "2020-01-01T00:00:00Z"},
}  # fmt: skip

_OBJECTS = r"""
WITH ours AS (
    SELECT oid, nspname, nspowner, nspacl FROM pg_namespace WHERE nspname ~ '^(geo|pgstac)')
SELECT format('schema %s owner %s rights %s', nspname, nspowner::regrole, nspacl) FROM ours
UNION ALL
SELECT format('%s %s.%s owner %s rights %s', relkind, nspname, relname, relowner::regrole, relacl)
FROM pg_class JOIN ours ON ours.oid = relnamespace
UNION ALL
SELECT format('function %s rights %s', pg_proc.oid::regprocedure, proacl)
FROM pg_proc JOIN ours ON ours.oid = pronamespace
UNION ALL
SELECT format('default of %s in %s: %s', defaclrole::regrole, nspname, defaclacl)
FROM pg_default_acl JOIN ours ON ours.oid = defaclnamespace
UNION ALL
SELECT format('extension %s %s', extname, extversion) FROM pg_extension WHERE extname <> 'plpgsql'
ORDER BY 1
"""

_PUBLISHED_ONCE: LiteralString = """
INSERT INTO geo_platform.provenance (action, run_id, collection, item_id, fingerprint)
VALUES ('publish', 'r', 'vectors', 'roads', 'f')
"""

_PUBLISHED_BY_MANY: LiteralString = """
INSERT INTO geo_platform.provenance (action, run_id, collection, item_id, fingerprint)
SELECT 'publish', 'run ' || n, 'vectors', 'item ' || n % 5000, 'f' || n
FROM generate_series(1, 20000) AS n
"""


def _command(database: Database, *arguments: str, home: Path) -> Ended:
    return geo_platform(
        "database",
        *arguments,
        home=home,
        extra={"GEO_PLATFORM_POSTGRES_URL": database.url.get_secret_value()},
    )


def _objects(database: Database) -> list[str]:
    with database.connect() as connection:
        return [row[0] for row in connection.execute(_OBJECTS)]


def _missing(ended: Ended) -> list[str]:
    return [
        line.removeprefix("MISSING").strip().partition(":")[0]
        for line in ended.stdout.splitlines()
        if line.startswith("MISSING")
    ]


class TestAnEmptyDatabase:
    def test_check_names_everything_that_is_missing(
        self, empty_database: Logins, tmp_path: Path
    ) -> None:
        ended = _command(empty_database.stranger, "check", home=tmp_path)
        assert ended.exit_code == 3, ended.stderr
        assert _missing(ended) == [
            "PostGIS", "pgSTAC", "installation",
            "schema geo_staging", "schema geo_replaced", "schema geo_platform",
            "schema geo", "login",
        ]  # fmt: skip

    def test_two_installations_at_once_succeed_and_nothing_is_missing(
        self, empty_database: Logins, tmp_path: Path
    ) -> None:
        with ThreadPoolExecutor(2) as both:
            ended = list(
                both.map(
                    lambda _: _command(
                        empty_database.admin, "init", "--schema", "roads", home=tmp_path
                    ),
                    range(2),
                )
            )
        assert [one.exit_code for one in ended] == [0, 0], [one.stderr for one in ended]
        assert all(finding.is_met for finding in check(empty_database.loader, ["roads"]))

    def test_only_an_administrator_installs(self, empty_database: Logins) -> None:
        with pytest.raises(errors.StoreDenied):
            install(empty_database.loader)
        assert not _objects(empty_database.admin)


class TestInitAgain:
    def test_changes_nothing(self, database: Logins, tmp_path: Path) -> None:
        before = _objects(database.admin)
        ended = _command(database.admin, "init", "--schema", EXTRA_SCHEMA, home=tmp_path)
        assert ended.exit_code == 0, ended.stderr
        assert _objects(database.admin) == before
        assert "password" not in ended.stdout + ended.stderr
        assert _password(database) not in ended.stdout + ended.stderr

    def test_restores_lost_objects_that_check_names_before(self, database: Logins) -> None:
        before = _objects(database.admin)
        with database.admin.connect() as connection:
            connection.execute("REVOKE CREATE ON SCHEMA geo_staging FROM geo_loader")
            connection.execute("GRANT USAGE ON SCHEMA geo_replaced TO geo_reader")
            connection.execute("REVOKE USAGE ON SCHEMA geo FROM geo_reader")
            connection.execute("DROP SCHEMA geo_extra CASCADE")
        found = {
            finding.name: finding.detail
            for finding in check(database.loader, [EXTRA_SCHEMA])
            if not finding.is_met
        }
        assert found == {
            "schema geo_staging": "geo_loader may not create in it",
            "schema geo_replaced": "geo_reader may use it",
            "schema geo": "geo_reader may not use it",
            "schema geo_extra": "does not exist",
        }
        install(database.admin, [EXTRA_SCHEMA])
        assert _objects(database.admin) == before

    def test_keeps_published_data(self, database: Logins) -> None:
        _load(database.loader, "geo_staging", "roads_1")
        _move(database.loader, ("geo_staging", "roads_1"), ("geo", "roads"))
        install(database.admin)
        with database.reader.connect() as connection:
            assert connection.execute("SELECT count(*) FROM geo.roads").fetchone() == (1,)

    def test_upgrades_an_older_installation_and_keeps_its_data(self, database: Logins) -> None:
        before = _objects(database.admin)
        with database.admin.connect() as connection:
            connection.execute(_PUBLISHED_ONCE)
            connection.execute("DROP INDEX geo_platform.provenance_run")
            connection.execute("DELETE FROM geo_platform.installation WHERE version > 1")
        assert [
            (finding.name, finding.is_met)
            for finding in check(database.loader)
            if not finding.is_met
        ] == [("installation", False)]
        assert install(database.admin, [EXTRA_SCHEMA]).own_version == len(VERSIONS)
        assert _objects(database.admin) == before
        with database.admin.connect() as connection:
            assert connection.execute("SELECT run_id FROM geo_platform.provenance").fetchall() == [
                ("r",)
            ]

    def test_publications_of_a_run_are_found_by_index(self, database: Logins) -> None:
        with database.admin.connect() as connection:
            connection.execute(_PUBLISHED_BY_MANY)
            connection.execute("ANALYZE geo_platform.provenance")
            plan = connection.execute(
                sql.SQL("EXPLAIN (COSTS OFF) {}").format(statement("trace_writes")),
                {"run_id": "run 7"},
            ).fetchall()
        asked = "\n".join(line for (line,) in plan)
        assert "provenance_run" in asked
        assert "provenance_item" in asked
        assert "Seq Scan on provenance" not in asked, asked

    def test_by_an_older_program_is_refused(self, database: Logins) -> None:
        newer = len(VERSIONS) + 1
        with database.admin.connect() as connection:
            connection.execute(
                "INSERT INTO geo_platform.installation (version) VALUES (%s)", [newer]
            )
        with pytest.raises(errors.StoreDenied, match=f"version {newer}"):
            install(database.admin)
        assert [finding.name for finding in check(database.loader) if not finding.is_met] == [
            "installation"
        ]


class TestLoader:
    def test_any_loader_swaps_a_table_and_readers_see_it_without_a_grant(
        self, database: Logins
    ) -> None:
        _load(database.loader, "geo_staging", "roads_1")
        _move(database.other_loader, ("geo_staging", "roads_1"), ("geo", "roads"))
        _load(database.other_loader, "geo_staging", "roads_2")
        _move(database.loader, ("geo", "roads"), ("geo_replaced", "roads_1"))
        _move(database.loader, ("geo_staging", "roads_2"), ("geo", "roads"))
        with database.reader.connect() as connection:
            assert connection.execute("SELECT ST_SRID(geom) FROM geo.roads").fetchone() == (4326,)
        with database.other_loader.connect() as connection:
            connection.execute("DROP TABLE geo_replaced.roads_1")

    def test_publishes_items_and_keeps_versions(self, database: Logins) -> None:
        _publish(database.loader)
        with database.other_loader.connect() as connection:
            _as_loader(connection)
            connection.execute(
                "INSERT INTO geo_platform.item_versions "
                "(collection, item_id, fingerprint, run_id, item, withdrawn_by_run)"
                " VALUES ('vectors', 'roads', 'f', 'r', '{}', 'r2')"
            )
            connection.execute(_PUBLISHED_ONCE)
            row = connection.execute("SELECT login, action FROM geo_platform.provenance").fetchone()
            assert row == ("test_other_loader", "publish"), (
                "the login is written down, not the role"
            )
            connection.execute("SELECT pgstac.delete_item('roads', 'vectors')")
            assert connection.execute("DELETE FROM geo_platform.item_versions").rowcount == 1


class TestLoaderIsNoAdministrator:
    @pytest.fixture(scope="class")
    @classmethod
    def refusing(cls, services: Services) -> Iterator[Logins]:
        """For tests that change nothing, because all their writes are refused."""
        with own_database(services) as database:
            _do(database.admin, _as_itself, _PUBLISHED_ONCE)
            yield database

    @pytest.mark.parametrize(
        "forbidden",
        [
            "UPDATE geo_platform.provenance SET run_id = ''",
            "DELETE FROM geo_platform.provenance",
            "TRUNCATE geo_platform.provenance",
            "DROP TABLE geo_platform.provenance",
            "INSERT INTO geo_platform.installation (version) VALUES (9)",
            "CREATE TABLE geo_platform.mine (n int)",
            "CREATE TABLE public.mine (n int)",
            "CREATE SCHEMA mine",
            "DROP SCHEMA geo_staging CASCADE",
            "CREATE ROLE mine",
            "ALTER ROLE test_reader SUPERUSER",
            "GRANT geo_loader TO test_reader",
            "CREATE EXTENSION dblink",
            "UPDATE public.spatial_ref_sys SET srtext = '' WHERE srid = 4326",
            "SELECT * FROM pg_authid",
            "COPY (SELECT 1) TO PROGRAM 'true'",
            "SET ROLE geo_admin",
            "SET ROLE pgstac_admin",
        ],
    )
    def test_and_is_refused(self, refusing: Logins, forbidden: LiteralString) -> None:
        for prepare in (_as_itself, _as_loader):
            with pytest.raises(errors.StoreDenied):
                _do(refusing.loader, prepare, forbidden)


class TestReader:
    @pytest.fixture(scope="class")
    @classmethod
    def published(cls, services: Services) -> Iterator[Logins]:
        """For tests that change nothing, because all their writes are refused."""
        with own_database(services) as database:
            cls._fill(database)
            yield database

    @staticmethod
    def _fill(database: Logins) -> None:
        for table in ("published", "staged", "replaced"):
            _load(database.loader, "geo_staging", table)
        _move(database.loader, ("geo_staging", "published"), ("geo", "published"))
        _move(database.loader, ("geo_staging", "replaced"), ("geo_replaced", "replaced"))
        _load(database.loader, EXTRA_SCHEMA, "made_in_place")
        _publish(database.loader)

    def test_reads_published_data_and_finds_the_item(self, published: Logins) -> None:
        with published.reader.connect() as connection:
            for table in (("geo", "published"), (EXTRA_SCHEMA, "made_in_place")):
                assert connection.execute(
                    sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(*table))
                ).fetchone() == (1,)
            connection.execute("SET LOCAL search_path TO pgstac, public")
            row = connection.execute(
                "SELECT search(%s::jsonb)",
                [json.dumps({"collections": ["vectors"], "bbox": [0, 0, 2, 2]})],
            ).fetchone()
            assert row is not None
            assert [feature["id"] for feature in row[0]["features"]] == ["roads"]

    @pytest.mark.parametrize(
        "forbidden",
        [
            "SELECT * FROM geo_staging.staged",
            "SELECT * FROM geo_replaced.replaced",
            "SELECT * FROM geo_platform.item_versions",
            "SELECT login FROM geo_platform.provenance",
            "SELECT source_uri FROM geo_platform.provenance",
            _PUBLISHED_ONCE,
            "INSERT INTO public.spatial_ref_sys (srid, srtext) VALUES (910000, '')",
            "INSERT INTO geo.published (n) VALUES (2)",
            "UPDATE geo.published SET n = 2",
            "DELETE FROM geo.published",
            "TRUNCATE geo.published",
            "DROP TABLE geo.published",
            "ALTER TABLE geo.published SET SCHEMA public",
            "CREATE TABLE geo.mine (n int)",
            "SELECT pgstac.delete_item('roads', 'vectors')",
            "DELETE FROM pgstac.items",
            "SET ROLE geo_loader",
        ],
    )
    def test_may_do_nothing_else(self, published: Logins, forbidden: LiteralString) -> None:
        with pytest.raises(errors.StoreDenied):
            _do(published.reader, _as_itself, forbidden)

    def test_check_reports_that_it_may_not_load(self, published: Logins, tmp_path: Path) -> None:
        ended = _command(published.reader, "check", home=tmp_path)
        assert ended.exit_code == 3
        assert _missing(ended) == ["login"]
        assert "GRANT geo_loader" in ended.stdout

    def test_a_login_without_a_role_sees_nothing(self, published: Logins) -> None:
        for table in ("geo.published", "pgstac.items", "geo_platform.installation"):
            with pytest.raises(errors.StoreDenied), published.stranger.connect() as connection:
                connection.execute(
                    sql.SQL("SELECT * FROM {}").format(sql.Identifier(*table.split(".")))
                )


class TestTheCommand:
    def test_without_a_database_names_the_setting(self, tmp_path: Path) -> None:
        ended = geo_platform("database", "check", home=tmp_path)
        assert ended.exit_code == 3
        assert "GEO_PLATFORM_POSTGRES_URL" in ended.stderr

    def test_a_wrong_password_ends_with_a_sentence_without_the_password(
        self, database: Logins, tmp_path: Path
    ) -> None:
        wrong = Database(
            SecretStr(
                database.loader.url.get_secret_value().replace(_password(database), "mistaken")
            )
        )
        ended = _command(wrong, "check", home=tmp_path)
        assert ended.exit_code == 3
        assert "STORE_DENIED" in ended.stderr
        assert "mistaken" not in ended.stdout + ended.stderr

    def test_a_platform_schema_cannot_be_published_in(self, database: Logins) -> None:
        for name in ("geo_staging", "pgstac", "pg_catalog", "Geo", "a-b", ""):
            with pytest.raises(errors.TableNameInvalid):
                check(database.loader, [name])


def test_an_administrator_who_is_no_superuser_installs(own_postgres: OwnPostgres) -> None:
    """A login as on a managed server: it may create roles and databases; the extensions exist."""
    own = own_postgres.logins
    with own.admin.connect(autocommit=True) as connection:
        connection.execute("ALTER ROLE test_stranger CREATEROLE CREATEDB")
        connection.execute("CREATE DATABASE managed OWNER test_stranger")
    managed = [
        Database(SecretStr(login.url.get_secret_value().replace(own.name, "managed")))
        for login in (own.admin, own.stranger, own.loader)
    ]
    with managed[0].connect() as connection:
        connection.execute("CREATE EXTENSION postgis")
    install_platform(managed[1].url.get_secret_value())
    assert [finding.name for finding in check(managed[2]) if not finding.is_met] == ["CRS table"], (
        "the owner of the extension gives that right"
    )
    _load(managed[2], "geo_staging", "roads_1")
    _publish(managed[2])


def _password(logins: Logins) -> str:
    return logins.loader.url.get_secret_value().rpartition("@")[0].rpartition(":")[2]


def _as_itself(connection: psycopg.Connection) -> None:
    connection.execute("SET LOCAL search_path TO pgstac, public")


def _as_loader(connection: psycopg.Connection) -> None:
    connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(LOADER_ROLE)))
    connection.execute("SET LOCAL search_path TO pgstac, public")


def _do(
    database: Database, prepare: Callable[[psycopg.Connection], None], what: LiteralString
) -> None:
    with database.connect() as connection:
        prepare(connection)
        connection.execute(what)


def _load(database: Database, schema: str, table: str) -> None:
    name = sql.Identifier(schema, table)
    with database.connect() as connection:
        _as_loader(connection)
        connection.execute(
            sql.SQL("CREATE TABLE {} (n int, geom geometry(Point, 4326))").format(name)
        )
    with database.connect() as connection:  # as the login itself, like a parallel COPY
        connection.execute(
            sql.SQL("INSERT INTO {} VALUES (1, ST_SetSRID(ST_MakePoint(4, 50), 4326))").format(name)
        )


def _move(database: Database, source: tuple[str, str], target: tuple[str, str]) -> None:
    with database.connect() as connection:
        _as_loader(connection)
        connection.execute(
            sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(
                sql.Identifier(*source), sql.Identifier(target[0])
            )
        )
        if source[1] != target[1]:
            connection.execute(
                sql.SQL("ALTER TABLE {} RENAME TO {}").format(
                    sql.Identifier(target[0], source[1]), sql.Identifier(target[1])
                )
            )


def _publish(database: Database) -> None:
    with database.connect() as connection:
        _as_loader(connection)
        connection.execute("SELECT upsert_collection(%s::jsonb)", [json.dumps(COLLECTION)])
        connection.execute("SELECT upsert_item(%s::jsonb)", [json.dumps(ITEM)])
