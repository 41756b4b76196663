"""The form of an id decides what it can name, and in which order that is tried."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.trace.question import Reading, Subject, readings, without_secrets

RUN = "d2e3cc46-372e-4ec4-a835-f0798fa12278"
VERSION = "wells_45631c71_d2e3cc46"
ACCOUNT = "https://geo.blob.core.windows.net"


def first(text: str) -> Reading:
    return readings(text)[0]


@pytest.mark.parametrize("text", [RUN, RUN.upper(), RUN.replace("-", ""), f" {RUN}\n"])
def test_a_run_id_is_read_in_every_spelling(text: str) -> None:
    assert first(text) == Reading(Subject.run, RUN)


@pytest.mark.parametrize("text", [RUN[:8], RUN[:20], RUN[:-1]])
def test_a_prefix_of_at_least_eight_characters_may_be_a_run(text: str) -> None:
    assert first(text) == Reading(Subject.run, text)
    assert all(reading.subject is not Subject.run for reading in readings(RUN[:7]))


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("silver/vectors/a b/x.parquet", Reading(Subject.blob, "vectors/a b/x.parquet", "silver")),
        (
            f"{ACCOUNT}/silver/a%20b/x.tif",
            Reading(Subject.blob, "a b/x.tif", "silver", f"{ACCOUNT}/silver/a%20b/x.tif"),
        ),
        (
            f"{ACCOUNT}/test-messages/raw/x.json",
            Reading(Subject.blob, "raw/x.json", "messages", f"{ACCOUNT}/test-messages/raw/x.json"),
        ),
        (
            "http://127.0.0.1:10000/geolocal/bronze/x.tif",
            Reading(
                Subject.blob, "x.tif", "bronze", "http://127.0.0.1:10000/geolocal/bronze/x.tif"
            ),
        ),
        (
            "file:///home/g/.geo/store/silver/r/x.tif",
            Reading(Subject.blob, "r/x.tif", "silver", "file:///home/g/.geo/store/silver/r/x.tif"),
        ),
        (
            "file:///home/g/.geo/catalog/vectors/wells/wells.json",
            Reading(Subject.item, "wells", "vectors"),
        ),
        (
            "pgstac://host:5432/geo/collections/vectors/items/wells",
            Reading(Subject.item, "wells", "vectors"),
        ),
        (
            "https://stac.example/collections/vectors/items/wells",
            Reading(Subject.item, "wells", "vectors"),
        ),
        ("vectors/wells", Reading(Subject.item, "wells", "vectors")),
        ("geo.wells", Reading(Subject.table, "wells", "geo")),
        ('"geo"."wells"', Reading(Subject.table, "wells", "geo")),
        (f"geo_replaced.{VERSION}", Reading(Subject.table, VERSION, "geo_replaced")),
        (VERSION, Reading(Subject.table, VERSION)),
        ("postgresql://host:5432/geo?table=geo.wells", Reading(Subject.table, "wells", "geo")),
        ("0f" * 32, Reading(Subject.job, "0f" * 32)),
        ("req 17", Reading(Subject.client, "req 17")),
    ],
)
def test_the_form_decides_what_is_tried_first(text: str, reading: Reading) -> None:
    assert first(text) == reading


def test_an_ambiguous_id_is_tried_as_each_kind() -> None:
    assert [reading.subject for reading in readings("2f4c9a1e")] == [
        Subject.run,
        Subject.client,
        Subject.item,
    ]
    assert [reading.subject for reading in readings("a.b")] == [
        Subject.table,
        Subject.client,
        Subject.item,
    ]
    assert readings("2f4c9a1e", Subject.item) == (Reading(Subject.item, "2f4c9a1e"),)
    assert readings("no run", Subject.run) == ()


def test_secrets_in_a_url_are_not_shown() -> None:
    assert (
        without_secrets(f"{ACCOUNT}/silver/x.tif?sv=2025&sig=SECRET") == f"{ACCOUNT}/silver/x.tif"
    )
    assert (
        without_secrets("postgresql://me:SECRET@host/geo?table=geo.wells&password=SECRET")
        == "postgresql://host/geo?table=geo.wells"
    )
    for text in (
        f"{ACCOUNT}/silver/x.tif?sig=SECRET",
        "postgresql://me:SECRET@host/geo?table=geo.wells",
    ):
        assert all("SECRET" not in repr(reading) for reading in readings(text))


@given(st.text())
def test_any_text_can_be_read_and_shown(text: str) -> None:
    assert bool(readings(text)) is bool(text.strip())
    assert isinstance(without_secrets(text), str)
