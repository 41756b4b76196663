"""Plan which tables move, without a database."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.errors import Conflict
from geo_platform.storage.postgres.pgstac_tables import (
    Move,
    Places,
    Relation,
    TableVersion,
    places_of,
    plan_publication,
    plan_withdrawal,
    read_comment,
    tables_of,
)
from tests.support.publications import item

TARGET = TableVersion("geo", "roads", "v2")


def comment_of(version: str, **more: Any) -> dict[str, Any]:
    return {
        "version": version,
        "source_uri": "a.gpkg",
        "load_mode": "update",
        "base_version": None,
    } | more


def live(version: str | None = "v1", **more: Any) -> Relation:
    return Relation("geo", "roads", None if version is None else comment_of(version, **more))


def staged(**more: Any) -> Relation:
    return Relation("geo_staging", "v2", comment_of("v2", **more))


def replaced(**more: Any) -> Relation:
    return Relation("geo_replaced", "v2", comment_of("v2", **more))


def plan(*found: Relation, before: tuple[TableVersion, ...] = ()) -> tuple[Move, ...]:
    return plan_publication(places_of(TARGET, found), replaced=before, run_id="c2552afc-9bf3")


MOVE_IN = Move("geo_staging", "v2", "geo", "roads")
MOVE_BACK = Move("geo_replaced", "v2", "geo", "roads")
MOVE_OUT = Move("geo", "roads", "geo_replaced", "v1")
V1 = TableVersion("geo", "roads", "v1")


def test_a_first_version_moves_in_and_a_published_one_stays() -> None:
    assert plan(staged()) == (MOVE_IN,)
    assert plan(live("v2")) == ()
    assert plan(live("v2"), replaced()) == ()


def test_the_live_table_moves_out_before_another_moves_in() -> None:
    assert plan(live(), staged()) == (MOVE_OUT, MOVE_IN)
    assert plan(live(), replaced()) == (MOVE_OUT, MOVE_BACK)


def test_a_missing_version_is_a_conflict() -> None:
    with pytest.raises(Conflict, match="not in the database"):
        plan(live())


@pytest.mark.parametrize(
    ("found", "before"),
    [
        ((live(source_uri="b.gpkg"), staged()), ()),
        ((live(source_uri="b.gpkg"), staged(load_mode="create")), ()),
        ((live(source_uri="b.gpkg"), replaced()), ()),
        ((live(source_uri="b.gpkg"), replaced(load_mode="replace")), ()),
        ((live(None), staged()), ()),
        ((live(None), replaced()), (V1,)),
        ((live("v1"), staged(load_mode="append")), ()),
        ((live("v1"), staged(load_mode="append", base_version="v0")), (V1,)),
        ((live(None), staged(load_mode="append")), ()),
        ((staged(load_mode="append", base_version="v1"),), ()),
        ((live(source_uri="b.gpkg"), replaced()), (TableVersion("other", "roads", "v1"),)),
    ],
)
def test_a_move_that_would_lose_rows_is_a_conflict(
    found: tuple[Relation, ...], before: tuple[TableVersion, ...]
) -> None:
    with pytest.raises(Conflict, match=r"geo\.roads"):
        plan(*found, before=before)


@pytest.mark.parametrize(
    ("found", "before", "moves"),
    [
        ((live(source_uri="b.gpkg"), staged(load_mode="replace")), (), (MOVE_OUT, MOVE_IN)),
        (
            (live(source_uri="b.gpkg"), staged(load_mode="append", base_version="v1")),
            (),
            (MOVE_OUT, MOVE_IN),
        ),
        ((staged(load_mode="append"),), (), (MOVE_IN,)),
        ((live(source_uri="b.gpkg"), replaced()), (V1,), (MOVE_OUT, MOVE_BACK)),
        (
            (live(source_uri="b.gpkg"), replaced(load_mode="append", base_version="v0")),
            (V1,),
            (MOVE_OUT, MOVE_BACK),
        ),
        (
            (live(None), staged(load_mode="replace")),
            (),
            (Move("geo", "roads", "geo_replaced", "roads_unmanaged_c2552afc"), MOVE_IN),
        ),
    ],
)
def test_allowed_replacements_are_planned(
    found: tuple[Relation, ...], before: tuple[TableVersion, ...], moves: tuple[Move, ...]
) -> None:
    assert plan(*found, before=before) == moves


def test_only_the_version_that_the_item_names_is_withdrawn() -> None:
    assert plan_withdrawal(places_of(V1, [live("v1")])) == (MOVE_OUT,)
    for found in (
        [live("v2")],
        [live(None)],
        [],
        [Relation("geo_replaced", "v1", comment_of("v1"))],
    ):
        assert plan_withdrawal(places_of(V1, found)) == ()


@pytest.mark.parametrize(
    "comment", [None, "", "Mine.", "[]", "{}", '"v1"', '{"version": 3}', '{"loading": "v1"}']
)
def test_a_foreign_comment_is_ignored(comment: str | None) -> None:
    assert read_comment(comment) is None


@given(st.text())
def test_no_comment_causes_a_traceback(comment: str) -> None:
    found = read_comment(comment)
    assert found is None or "version" in found


def test_the_platform_s_comment_is_parsed() -> None:
    assert read_comment(json.dumps(comment_of("v1"))) == comment_of("v1")


def test_an_item_names_its_tables_in_order_and_once() -> None:
    document = item(table="geo.roads")
    document["assets"]["again"] = document["assets"]["table"]
    document["assets"]["other"] = document["assets"]["table"] | {"geo_platform:table": "aside"}
    assert tables_of(document) == (
        TableVersion("geo", "aside", "v1"),
        TableVersion("geo", "roads", "v1"),
    )
    assert tables_of(item()) == tables_of(None) == ()
    assert isinstance(places_of(TARGET, []), Places)
