"""create, update, replace and append: who may take a name, and what an append adds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from geo_platform.contracts.message import TableReference
from geo_platform.errors import ParameterInvalid, TableExists
from geo_platform.ports import FeatureTarget
from geo_platform.storage.postgres import postgis
from geo_platform.storage.postgres.postgis import PostgisFeatures
from tests.support.features import (
    GEOMETRY,
    SCHEMA,
    ask,
    load,
    loaded,
    numbered,
    one_batch,
    points,
    publish,
    staged,
    target,
)
from tests.support.servers import EXTRA_SCHEMA, Logins

OTHER = {"source_uri": "file:///bronze/other.gpkg", "source_etag": "e", "run_id": "11111111-run"}
KEYED: dict[str, Any] = {"load_mode": "append", "key_columns": ("n",)}


def rows_of(database: Logins, table: TableReference) -> list[tuple[Any, ...]]:
    return ask(database.admin, "SELECT fid, n, name FROM {} ORDER BY fid", table)


def live_rows(database: Logins, columns: str = "n, name") -> list[tuple[Any, ...]]:
    return ask(database.reader, f"SELECT {columns} FROM geo.roads ORDER BY n, name")


def check(database: Logins, wanted: FeatureTarget) -> None:
    PostgisFeatures(database.loader).check_free(wanted)


def put(database: Logins, wanted: FeatureTarget, batches: Any, tmp_path: Path) -> TableReference:
    table = load(database.loader, wanted, batches, tmp_path)
    publish(database.loader, table)
    return table


def test_any_mode_may_use_a_free_name(database: Logins) -> None:
    for mode in ("update", "create", "replace", "append"):
        check(database, target(load_mode=mode, key_columns=("n",)))


def test_create_refuses_an_existing_table_unless_it_is_the_same_load(
    database: Logins, tmp_path: Path
) -> None:
    put(database, target(load_mode="create"), numbered(3), tmp_path)
    check(database, target(load_mode="create"))
    with pytest.raises(TableExists, match="exists already"):
        check(database, target(load_mode="create", fingerprint="e" * 32))


def test_update_only_replaces_a_table_of_its_own_source(database: Logins, tmp_path: Path) -> None:
    put(database, target(), numbered(3), tmp_path)
    check(database, target(fingerprint="e" * 32))
    with pytest.raises(
        TableExists,
        match=r"came from file:///bronze/é roads\.gpkg, not from file:///bronze/other\.gpkg",
    ):
        check(database, target(metadata=OTHER))
    check(database, target(metadata=OTHER, load_mode="replace"))
    check(database, target(metadata=OTHER, schema_name=EXTRA_SCHEMA))


def test_a_foreign_table_can_only_be_replaced(database: Logins, tmp_path: Path) -> None:
    with database.admin.connect() as connection:
        connection.execute("CREATE TABLE geo.roads (n bigint, geometry geometry(MultiPoint, 4326))")
    for mode in ("update", "create", "append"):
        with pytest.raises(TableExists, match="not made by the platform"):
            check(database, target(load_mode=mode, key_columns=("n",)))
    check(database, target(load_mode="replace"))


def test_a_view_is_not_replaced(database: Logins) -> None:
    with database.admin.connect() as connection:
        connection.execute("CREATE VIEW geo.roads AS SELECT 1 AS n")
    with pytest.raises(TableExists, match="is not an ordinary table"):
        check(database, target(load_mode="replace"))


@pytest.mark.parametrize(
    "schema", ["nowhere", "public", "pgstac", "geo_staging", "geo_replaced", "geo_platform"]
)
def test_schemas_that_cannot_be_published_in_are_refused(database: Logins, schema: str) -> None:
    with pytest.raises(ParameterInvalid, match=schema) as refused:
        check(database, target(schema_name=schema))
    assert f"geo-platform database init --schema {schema}" in refused.value.remedy


def test_append_to_no_table_is_an_ordinary_load(database: Logins, tmp_path: Path) -> None:
    table = load(database.loader, target(**KEYED), numbered(3), tmp_path)
    assert rows_of(database, table) == [(1, 0, "n0"), (2, 1, "n1"), (3, 2, "n2")]


def test_append_adds_rows_and_replaces_those_of_the_same_key(
    database: Logins, tmp_path: Path
) -> None:
    first = put(database, target(), numbered(3), tmp_path)
    wanted = target(metadata=OTHER, fingerprint="a" * 32, **KEYED)
    dataset = loaded(database.loader, wanted, numbered(3, first=2, name="new"), tmp_path)
    assert dataset.table is not None
    assert rows_of(database, dataset.table) == [
        (1, 0, "n0"),
        (2, 1, "n1"),
        (4, 2, "new2"),
        (5, 3, "new3"),
        (6, 4, "new4"),
    ]
    assert (dataset.rows, dataset.bounds.xyxy) == (3, (2, 0, 4, 0))
    comment = ask(
        database.admin,
        "SELECT obj_description(%s::regclass)::json",
        None,
        f"geo_staging.{dataset.table.version}",
    )[0][0]
    assert (comment["rows"], comment["base_version"], comment["load_mode"]) == (
        5,
        first.version,
        "append",
    )
    assert live_rows(database) == [(0, "n0"), (1, "n1"), (2, "n2")]


def test_appending_the_same_rows_twice_changes_nothing(database: Logins, tmp_path: Path) -> None:
    put(database, target(), numbered(3), tmp_path)
    for run in ("22222222", "33333333"):
        wanted = target(metadata={**OTHER, "run_id": run}, fingerprint="a" * 32, **KEYED)
        put(database, wanted, numbered(3, first=2, name="new"), tmp_path)
        assert live_rows(database) == [(0, "n0"), (1, "n1"), (2, "new2"), (3, "new3"), (4, "new4")]


def test_keys_of_several_columns_take_null_for_equal(database: Logins, tmp_path: Path) -> None:
    schema = pa.schema(
        [("n", pa.int64()), ("name", pa.string()), ("value", pa.float64()), GEOMETRY]
    )
    keyed = {"load_mode": "append", "key_columns": ("n", "name")}
    old = {"n": [1, 1, None, None], "name": ["a", None, "a", None], "value": [1.0] * 4}
    new = {"n": [None, 1, None], "name": [None, None, "b"], "value": [2.0] * 3}
    put(database, target(schema), one_batch(schema, old, points(4)), tmp_path)
    put(
        database,
        target(schema, metadata=OTHER, **keyed),
        one_batch(schema, new, points(3)),
        tmp_path,
    )
    assert set(live_rows(database, "n, name, value")) == {
        (1, "a", 1.0), (None, "a", 1.0), (1, None, 2.0), (None, None, 2.0), (None, "b", 2.0),
    }  # fmt: skip


def test_new_rows_that_share_a_key_are_refused(database: Logins, tmp_path: Path) -> None:
    put(database, target(), numbered(3), tmp_path)
    columns = {"n": [7, 7, None, None, None, 8], "name": list("abcdef")}
    with pytest.raises(ParameterInvalid, match="5 of the new rows share 2 keys of n"):
        load(
            database.loader,
            target(metadata=OTHER, **KEYED),
            one_batch(SCHEMA, columns, points(6)),
            tmp_path,
        )
    assert staged(database.admin) == []
    assert len(live_rows(database)) == 3


def test_append_refuses_other_columns_before_a_row_is_read(
    database: Logins, tmp_path: Path
) -> None:
    put(database, target(), numbered(3), tmp_path)
    other_type = pa.schema([("n", pa.int32()), ("name", pa.string()), GEOMETRY])
    fewer = pa.schema([("n", pa.int64()), GEOMETRY])
    for schema, crs, reason in (
        (other_type, "EPSG:4326", "n: bigint, new integer"),
        (fewer, "EPSG:4326", "name: text, new missing"),
        (
            SCHEMA,
            "EPSG:3857",
            r"geometry: geometry\(MultiPoint,4326\), new geometry\(MultiPoint,3857\)",
        ),
    ):
        with pytest.raises(ParameterInvalid, match=reason):
            load(
                database.loader,
                target(schema, crs=crs, metadata=OTHER, **KEYED),
                iter(()),
                tmp_path,
            )
    assert staged(database.admin) == []


def test_append_builds_on_the_table_that_is_live_after_its_load(
    database: Logins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run publishes rows during the load: they are kept, and no row id is used twice."""
    put(database, target(), numbered(3), tmp_path)
    original = postgis.PostgisFeatures._send

    def meanwhile(self: PostgisFeatures, *arguments: Any) -> Any:
        monkeypatch.setattr(postgis.PostgisFeatures, "_send", original)
        put(
            database,
            target(run="44444444", metadata={**OTHER, "run_id": "44444444"}, **KEYED),
            numbered(5, first=10),
            tmp_path,
        )
        return original(self, *arguments)

    monkeypatch.setattr(postgis.PostgisFeatures, "_send", meanwhile)
    table = load(
        database.loader,
        target(metadata=OTHER, fingerprint="a" * 32, **KEYED),
        numbered(2, first=20),
        tmp_path,
    )
    found = rows_of(database, table)
    assert [n for _, n, _ in found] == [0, 1, 2, 10, 11, 12, 13, 14, 20, 21]
    assert [fid for fid, _, _ in found] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    comment = ask(
        database.admin,
        "SELECT obj_description(%s::regclass)::json",
        None,
        f"geo_staging.{table.version}",
    )[0][0]
    assert comment["base_version"] == "roads_ffffffff_44444444"


def test_append_keeps_the_json_type_of_the_live_table(database: Logins, tmp_path: Path) -> None:
    schema = pa.schema([("n", pa.int64()), ("says", pa.string()), GEOMETRY])
    wanted = target(schema, json_columns=("says",))
    put(database, wanted, one_batch(schema, {"n": [1], "says": ['{"a": 1}']}, points(1)), tmp_path)
    more = replace(wanted, metadata=OTHER, load_mode="append", key_columns=("n",))
    put(database, more, one_batch(schema, {"n": [2], "says": ['{"a": 2}']}, points(1)), tmp_path)
    assert ask(database.reader, "SELECT n, says FROM geo.roads ORDER BY n") == [
        (1, {"a": 1}),
        (2, {"a": 2}),
    ]
    broken = replace(more, fingerprint="b" * 32)
    with pytest.raises(ParameterInvalid, match="says"):
        load(
            database.loader,
            broken,
            one_batch(schema, {"n": [3], "says": ["{"]}, points(1)),
            tmp_path,
        )


def test_a_version_is_found_in_every_schema(database: Logins, tmp_path: Path) -> None:
    store = PostgisFeatures(database.loader)
    first = load(database.loader, target(), numbered(3), tmp_path)
    assert store.holds(None, first)
    publish(database.loader, first)
    assert store.holds(None, first)
    put(database, target(fingerprint="e" * 32), numbered(4), tmp_path)
    assert store.holds(None, first)
    with database.admin.connect() as connection:
        connection.execute(f'DROP TABLE geo_replaced."{first.version}"')  # type: ignore[call-overload]
    assert not store.holds(None, first)
    assert not store.holds(None, None)


def test_an_append_to_a_table_replaced_since_must_be_repeated(
    database: Logins, tmp_path: Path
) -> None:
    """Returning the old version would remove rows that were added since."""
    store = PostgisFeatures(database.loader)
    first = put(database, target(**KEYED), numbered(3), tmp_path)
    waiting = load(
        database.loader,
        target(metadata=OTHER, fingerprint="b" * 32, **KEYED),
        numbered(1, first=8),
        tmp_path,
    )
    assert store.holds(None, first)
    assert store.holds(None, waiting)
    put(
        database,
        target(metadata=OTHER, fingerprint="c" * 32, **KEYED),
        numbered(2, first=5),
        tmp_path,
    )
    assert not store.holds(None, first)
    assert not store.holds(None, waiting)
