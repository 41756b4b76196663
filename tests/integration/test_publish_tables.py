"""Publish an item together with its table on a real PostgreSQL: replace, keep, restore, refuse."""

from typing import Any

import psycopg
import pytest

from geo_platform.errors import CatalogRejected, Conflict, DatabaseUnavailable, StoreDenied
from geo_platform.ports import ITEM_LOAD_MODE, ITEM_RESTORED_BY, ITEM_SOURCE, ItemVersion
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.pgstac import PgStac
from tests.support.publications import COLLECTION, item, stage_table, tables
from tests.support.servers import EXTRA_SCHEMA, Logins

COLLECTION_OF_TABLES = {**COLLECTION, "id": "vectors"}
OTHER_SOURCE = "https://store.example/bronze/other.gpkg"


@pytest.fixture
def catalog(database: Logins) -> PgStac:
    return PgStac(Database(database.loader.url, "a run"), root_href=None, patience_s=1.0)


def roads(
    version: str, item_id: str = "roads", table: str = "geo.roads", **more: Any
) -> dict[str, Any]:
    return item(item_id, version, collection="vectors", table=table, **more)


def publish(catalog: PgStac, document: dict[str, Any], replaces: str | None = None) -> None:
    catalog.publish(COLLECTION_OF_TABLES, document, replaces=replaces)


def one(database: Database, query: str) -> Any:
    with database.connect() as connection:
        row = connection.execute(query).fetchone()  # type: ignore[call-overload]
    return row[0] if row is not None and len(row) == 1 else row


def published(database: Logins) -> tuple[str, int]:
    """Return version and rows of the published table, as a reader sees them."""
    return tuple(one(database.reader, "SELECT min(version), count(*) FROM geo.roads"))


def kept(catalog: PgStac, version: str) -> ItemVersion:
    return next(found for found in catalog.versions() if found.fingerprint == version)


def bring_back(catalog: PgStac, version: str, replaces: str | None) -> None:
    found = kept(catalog, version)
    publish(
        catalog,
        {**found.item, "properties": {**found.item["properties"], ITEM_RESTORED_BY: "a later run"}},
        replaces,
    )


def test_publishing_the_item_publishes_its_table(catalog: PgStac, database: Logins) -> None:
    stage_table(database.loader, "r1", 10)
    with pytest.raises(psycopg.errors.UndefinedTable), database.reader.connect() as connection:
        connection.execute("SELECT FROM geo.roads")
    publish(catalog, roads("r1"))
    assert published(database) == ("r1", 10)
    assert tables(database.admin) == {"geo.roads"}
    assert one(database.reader, "SELECT ST_SRID(geometry) FROM geo.roads LIMIT 1") == 4326
    assert (
        one(
            database.admin,
            "SELECT count(*) FROM pg_indexes"
            " WHERE schemaname = 'geo' AND indexdef LIKE '%USING gist%'",
        )
        == 1
    )


def test_a_replaced_table_is_kept_and_restored_with_its_item(
    catalog: PgStac, database: Logins
) -> None:
    for version, rows, before in (("r1", 10, None), ("r2", 20, "r1")):
        stage_table(database.loader, version, rows)
        publish(catalog, roads(version), before)
    assert tables(database.admin) == {"geo.roads", "geo_replaced.r1"}
    bring_back(catalog, "r1", "r2")
    assert (published(database), tables(database.admin)) == (
        ("r1", 10),
        {"geo.roads", "geo_replaced.r2"},
    )
    bring_back(catalog, "r2", "r1")
    assert (published(database), tables(database.admin)) == (
        ("r2", 20),
        {"geo.roads", "geo_replaced.r1"},
    )
    with pytest.raises(StoreDenied), database.reader.connect() as connection:
        connection.execute("SELECT FROM geo_replaced.r1")


def test_unpublishing_withdraws_the_table_and_a_rollback_restores_it(
    catalog: PgStac, database: Logins
) -> None:
    stage_table(database.loader, "r1", 10)
    publish(catalog, roads("r1"))
    catalog.unpublish("vectors", "roads", published="r1")
    assert tables(database.admin) == {"geo_replaced.r1"}
    bring_back(catalog, "r1", None)
    assert published(database) == ("r1", 10)


def test_forgetting_a_version_drops_its_table_and_no_published_one(
    catalog: PgStac, database: Logins
) -> None:
    for version, before in (("r1", None), ("r2", "r1")):
        stage_table(database.loader, version, 5)
        publish(catalog, roads(version), before)
    # The item is another version of the same table.
    publish(
        catalog,
        {
            **roads("r2"),
            "properties": roads("described anew")["properties"] | {ITEM_SOURCE: "roads.tif"},
        },
        "r2",
    )
    for version in ("r1", "r2"):
        catalog.forget(kept(catalog, version))
    assert (tables(database.admin), published(database)) == ({"geo.roads"}, ("r2", 5))
    assert list(catalog.versions()) == []


def test_a_table_with_dependent_objects_is_not_forgotten(catalog: PgStac, database: Logins) -> None:
    stage_table(database.loader, "r1", 5)
    publish(catalog, roads("r1"))
    with database.admin.connect() as connection:
        connection.execute("CREATE VIEW public.built_on_it AS SELECT number FROM geo.roads")
    catalog.unpublish("vectors", "roads", published="r1")
    with pytest.raises(Conflict, match="built_on_it"):
        catalog.forget(kept(catalog, "r1"))
    assert [version.fingerprint for version in catalog.versions()] == ["r1"]
    assert tables(database.admin) == {"geo_replaced.r1"}


def test_a_missing_table_is_refused_and_nothing_is_changed(
    catalog: PgStac, database: Logins
) -> None:
    with pytest.raises(Conflict, match="not in the database"):
        publish(catalog, roads("r1"))
    assert (list(catalog.entries()), catalog.collection("vectors")) == ([], None)


@pytest.mark.parametrize(
    ("comment", "allowed"),
    [
        ({}, True),
        ({"load_mode": "create"}, True),
        ({"source_uri": OTHER_SOURCE}, False),
        ({"source_uri": OTHER_SOURCE, "load_mode": "replace"}, True),
        ({"source_uri": OTHER_SOURCE, "load_mode": "append", "base_version": "r1"}, True),
        ({"load_mode": "append", "base_version": "r0"}, False),
        ({"load_mode": "append", "base_version": None}, False),
    ],
    ids=str,
)
def test_who_may_replace_a_table(
    comment: dict[str, Any], allowed: bool, catalog: PgStac, database: Logins
) -> None:
    stage_table(database.loader, "r1", 10)
    publish(catalog, roads("r1"))
    stage_table(database.loader, "r2", 20, **comment)
    document = roads("r2", **{ITEM_LOAD_MODE: comment.get("load_mode", "update")})
    if allowed:
        publish(catalog, document, "r1")
        assert published(database) == ("r2", 20)
    else:
        with pytest.raises(Conflict, match=r"geo\.roads"):
            publish(catalog, document, "r1")
        assert published(database) == ("r1", 10)
        assert [entry.fingerprint for entry in catalog.entries()] == ["r1"]
        assert list(catalog.versions()) == []


def test_an_append_to_a_table_unpublished_since_is_a_conflict(
    catalog: PgStac, database: Logins
) -> None:
    stage_table(database.loader, "r1", 10)
    publish(catalog, roads("r1"))
    stage_table(database.loader, "r2", 20, load_mode="append", base_version="r1")
    catalog.unpublish("vectors", "roads", published="r1")
    with pytest.raises(Conflict, match="appended to r1"):
        publish(catalog, roads("r2", **{ITEM_LOAD_MODE: "append"}))
    assert tables(database.admin) == {"geo_replaced.r1", "geo_staging.r2"}


def test_an_item_is_unpublished_if_another_takes_its_table(
    catalog: PgStac, database: Logins
) -> None:
    stage_table(database.loader, "r1", 10)
    publish(catalog, roads("r1", "first", bbox=(0, 0, 50, 50)))
    stage_table(database.loader, "o1", 20, source_uri=OTHER_SOURCE, load_mode="replace")
    publish(catalog, roads("o1", "second"))
    assert [(entry.item_id, entry.fingerprint) for entry in catalog.entries()] == [("second", "o1")]
    assert [(version.item_id, version.fingerprint) for version in catalog.versions()] == [
        ("first", "r1")
    ]
    collection = catalog.collection("vectors")
    assert collection is not None
    assert collection["extent"]["spatial"]["bbox"] == [[0, 0, 1, 1]]
    with pytest.raises(Conflict, match=r"other\.gpkg"):
        bring_back(catalog, "r1", None)
    catalog.unpublish("vectors", "second", published="o1")
    bring_back(catalog, "r1", None)
    assert published(database) == ("r1", 10)


def test_an_item_that_moves_to_another_table_leaves_none_behind(
    catalog: PgStac, database: Logins
) -> None:
    stage_table(database.loader, "r1", 10)
    publish(catalog, roads("r1"))
    stage_table(database.loader, "r2", 20)
    publish(catalog, roads("r2", table=f"{EXTRA_SCHEMA}.streets"), "r1")
    assert tables(database.admin, "geo", EXTRA_SCHEMA, "geo_replaced") == {
        f"{EXTRA_SCHEMA}.streets",
        "geo_replaced.r1",
    }
    bring_back(catalog, "r1", "r2")
    assert tables(database.admin, "geo", EXTRA_SCHEMA, "geo_replaced") == {
        "geo.roads",
        "geo_replaced.r2",
    }


def test_a_foreign_table_is_replaced_only_by_load_mode_replace(
    catalog: PgStac, database: Logins
) -> None:
    with database.admin.connect() as connection:
        connection.execute("CREATE TABLE geo.roads (version text)")
        connection.execute("COMMENT ON TABLE geo.roads IS 'Mine.'")
        connection.execute("ALTER TABLE geo.roads OWNER TO geo_loader")
    stage_table(database.loader, "r1", 10)
    with pytest.raises(Conflict, match="not made by the platform"):
        publish(catalog, roads("r1"))
    stage_table(database.loader, "r2", 20, load_mode="replace")
    publish(catalog, roads("r2"))
    assert published(database) == ("r2", 20)
    assert tables(database.admin) == {
        "geo.roads",
        "geo_staging.r1",
        "geo_replaced.roads_unmanaged_a run",
    }
    catalog.unpublish("vectors", "roads", published="r2")
    assert "geo_replaced.roads_unmanaged_a run" in tables(database.admin)


def test_a_foreign_table_that_the_loader_does_not_own_is_not_replaced(
    catalog: PgStac, database: Logins
) -> None:
    with database.admin.connect() as connection:
        connection.execute("CREATE TABLE geo.roads (version text)")
    stage_table(database.loader, "r1", 10, load_mode="replace")
    with pytest.raises(StoreDenied, match="owner"):
        publish(catalog, roads("r1"))
    assert tables(database.admin) == {"geo.roads", "geo_staging.r1"}


def test_granted_rights_pass_to_the_successor_of_a_table(catalog: PgStac, database: Logins) -> None:
    stage_table(database.loader, "r1", 10)
    publish(catalog, roads("r1"))
    with database.admin.connect() as connection:
        connection.execute("GRANT USAGE ON SCHEMA geo TO test_stranger")
        connection.execute("GRANT SELECT ON geo.roads TO test_stranger")
    stage_table(database.loader, "r2", 20)
    publish(catalog, roads("r2"), "r1")
    assert one(database.stranger, "SELECT count(*) FROM geo.roads") == 20


def test_a_table_that_one_loader_staged_can_be_published_by_another(
    catalog: PgStac, database: Logins
) -> None:
    stage_table(database.other_loader, "r1", 10)
    publish(catalog, roads("r1"))
    stage_table(database.loader, "r2", 20)
    publish(PgStac(database.other_loader, root_href=None), roads("r2"), "r1")
    assert published(database) == ("r2", 20)


@pytest.mark.parametrize("login", ["reader", "stranger"])
def test_a_login_without_rights_is_denied_and_changes_nothing(
    login: str, catalog: PgStac, database: Logins
) -> None:
    stage_table(database.loader, "r1", 10)
    publish(catalog, roads("r1"))
    stage_table(database.loader, "r2", 20)
    other = PgStac(getattr(database, login), root_href=None)
    for attempt in (
        lambda: publish(other, roads("r2"), "r1"),
        lambda: other.unpublish("vectors", "roads", published="r1"),
        lambda: list(other.versions()),
    ):
        with pytest.raises(StoreDenied):
            attempt()
    assert (published(database), tables(database.admin)) == (
        ("r1", 10),
        {"geo.roads", "geo_staging.r2"},
    )


def test_a_reader_finds_what_is_published(catalog: PgStac, database: Logins) -> None:
    publish(catalog, item("scene", "v1", collection="vectors"))
    reader = PgStac(database.reader, root_href="https://stac.example/")
    (entry,) = reader.entries()
    assert entry.href == "https://stac.example/collections/vectors/items/scene"
    found, collection = reader.item("vectors", "scene"), reader.collection("vectors")
    assert found is not None
    assert collection is not None
    assert {link["rel"]: link["href"] for link in found["links"]} == {
        "root": "https://stac.example",
        "parent": "https://stac.example/collections/vectors",
        "collection": "https://stac.example/collections/vectors",
        "via": "https://store.example/bronze/scene.tif",
        "self": "https://stac.example/collections/vectors/items/scene",
    }


def test_an_item_that_pgstac_stores_differently_is_not_published(
    catalog: PgStac, database: Logins
) -> None:
    stage_table(database.loader, "r1", 10)
    publish(catalog, roads("r1"))
    with database.admin.connect() as connection:
        connection.execute(
            "CREATE FUNCTION public.meddle() RETURNS trigger LANGUAGE plpgsql AS "
            """$$ BEGIN NEW.content := jsonb_set(NEW.content, '{properties,title}', '"mine"'); """
            "RETURN NEW; END $$"
        )
        connection.execute(
            "CREATE TRIGGER meddle BEFORE INSERT ON pgstac.items"
            " FOR EACH ROW EXECUTE FUNCTION public.meddle()"
        )
    stage_table(database.loader, "r2", 20)
    with pytest.raises(CatalogRejected, match="reads back differently"):
        publish(catalog, roads("r2"), "r1")
    assert (published(database), [entry.fingerprint for entry in catalog.entries()]) == (
        ("r1", 10),
        ["r1"],
    )
    assert list(catalog.versions()) == []


def test_an_item_that_pgstac_cannot_store_is_refused_with_the_reason(catalog: PgStac) -> None:
    with pytest.raises(CatalogRejected, match="u0000"):
        publish(catalog, item("scene", "v1", collection="vectors", title="a\0b"))
    with pytest.raises(CatalogRejected, match="timestamp"):
        publish(catalog, item("scene", "v1", collection="vectors", datetime="yesterday-ish"))
    assert list(catalog.entries()) == []


def test_a_database_without_the_platform_is_reported_with_its_remedy(
    empty_database: Logins,
) -> None:
    catalog = PgStac(empty_database.loader, root_href=None)
    for attempt in (
        lambda: publish(catalog, roads("r1")),
        lambda: catalog.item("a", "b"),
        lambda: list(catalog.entries()),
    ):
        with pytest.raises(StoreDenied) as refused:
            attempt()
        assert "geo-platform database" in refused.value.remedy


def test_every_publication_leaves_an_entry_that_cannot_be_changed(
    catalog: PgStac, database: Logins
) -> None:
    stage_table(database.loader, "r1", 10)
    publish(catalog, roads("r1"))
    stage_table(database.loader, "r2", 20)
    publish(catalog, roads("r2"), "r1")
    catalog.unpublish("vectors", "roads", published="r2")
    with database.loader.connect() as connection:
        entries = connection.execute(
            "SELECT action, login, run_id, item_id, fingerprint, source_uri, table_schema,"
            " table_name, table_version, replaced_fingerprint, replaced_run_id,"
            " replaced_table_version FROM geo_platform.provenance ORDER BY entry"
        ).fetchall()
    of_all = ("test_loader", "a run", "roads")
    source = "https://store.example/bronze/roads.tif"
    assert entries == [
        ("publish", *of_all, "r1", source, "geo", "roads", "r1", None, None, None),
        ("publish", *of_all, "r2", source, "geo", "roads", "r2", "r1", "run of r1", "r1"),
        ("unpublish", *of_all, "r2", source, "geo", "roads", "r2", None, None, None),
    ]
    for change in (
        "DELETE FROM geo_platform.provenance",
        "UPDATE geo_platform.provenance SET run_id = 'x'",
    ):
        with pytest.raises(StoreDenied), database.loader.connect() as connection:
            connection.execute(change)  # type: ignore[call-overload]


def test_a_long_reader_of_the_table_is_named_without_waiting_for_it(
    catalog: PgStac, database: Logins
) -> None:
    stage_table(database.loader, "r1", 10)
    publish(catalog, roads("r1"))
    stage_table(database.loader, "r2", 20)
    with database.reader.connect() as connection:
        connection.execute("SELECT count(*) FROM geo.roads")
        with pytest.raises(
            DatabaseUnavailable, match=r"geo\.roads is being read.*test_reader"
        ) as busy:
            publish(catalog, roads("r2"), "r1")
        assert busy.value.retryable
        assert connection.execute("SELECT count(*) FROM geo.roads").fetchone() == (10,)
    assert published(database) == ("r1", 10)
    publish(catalog, roads("r2"), "r1")
    assert published(database) == ("r2", 20)
