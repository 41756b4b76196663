"""Each object is ready with its source, waits, or is skipped with a reason: exactly one of them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.arrivals.readiness import CLOCK_ERROR_S, SortedOut, Waiting, sets_of, sort_out
from geo_platform.arrivals.watch import Watch
from geo_platform.chains.raster import RASTER
from geo_platform.contracts.message import ObjectReference
from geo_platform.options import ArrivalOptions
from geo_platform.ports import UPLOAD_ORIGIN, StoredObject
from geo_platform.source.arrival import receive
from geo_platform.storage.local.folder import FolderStore
from tests.support.formats import (
    WORLD_FILE,
    write_georeferenced_rasters,
    write_pictures,
    write_vectors,
)

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
WATCH = Watch(name="all", settle_s=2, complete_within_s=60)


def stored(
    key: str,
    *,
    etag: str = "e",
    size_bytes: int = 5,
    metadata: Mapping[str, str] | None = None,
    at_s: float = 0,
) -> StoredObject:
    reference = ObjectReference(
        container="bronze", key=key, uri=f"memory:///bronze/{key}", etag=etag, size_bytes=size_bytes
    )
    return StoredObject(reference, NOON + timedelta(seconds=at_s), metadata or {})


def sort(
    *objects: StoredObject,
    waiting: Mapping[str, Waiting] | None = None,
    watch: Watch = WATCH,
    is_local: bool = False,
    now_s: float = 1000.0,
) -> SortedOut:
    return sort_out(objects, waiting or {}, watch, is_local=is_local, now_s=now_s)


def ready(found: SortedOut) -> dict[str, tuple[str, ...]]:
    return {arrival.key: arrival.sidecars for arrival in found.ready}


def shapefile(*suffixes: str) -> list[StoredObject]:
    return [stored(f"in/roads{suffix}") for suffix in suffixes]


def test_a_blob_is_whole_at_once_and_a_file_once_it_stops_changing() -> None:
    assert ready(sort(stored("a.tif"))) == {"a.tif": ()}
    first = sort(stored("a.tif", etag="1"), is_local=True, now_s=1000)
    assert (ready(first), list(first.waiting)) == ({}, ["a.tif"])
    grown = sort(stored("a.tif", etag="2"), waiting=first.waiting, is_local=True, now_s=1003)
    assert ready(grown) == {}, "it changed since"
    soon = sort(stored("a.tif", etag="2"), waiting=grown.waiting, is_local=True, now_s=1004.9)
    assert ready(soon) == {}
    assert ready(
        sort(stored("a.tif", etag="2"), waiting=soon.waiting, is_local=True, now_s=1005)
    ) == {"a.tif": ()}


def test_a_shapefile_waits_for_its_parts_and_then_goes_without_them() -> None:
    alone = sort(*shapefile(".shp", ".dbf"))
    assert (ready(alone), list(alone.waiting)) == ({}, ["in/roads.dbf", "in/roads.shp"])
    assert ".shx, .prj" in alone.waiting["in/roads.shp"].why
    whole = sort(*shapefile(".shp", ".dbf", ".shx", ".prj"), waiting=alone.waiting, now_s=1001)
    assert ready(whole) == {"in/roads.shp": ("in/roads.dbf", "in/roads.prj", "in/roads.shx")}
    late = sort(*shapefile(".shp", ".dbf"), waiting=alone.waiting, now_s=1060)
    assert ready(late) == {"in/roads.shp": ("in/roads.dbf",)}


@pytest.mark.parametrize(
    ("name", "companion"),
    [("a.png", "a.pgw"), ("a.jpg", "a.jpg.aux.xml"), ("a.jpeg", "a.wld"), ("a.asc", "a.prj")],
)
def test_a_picture_waits_for_its_georeference_for_a_quarter_of_the_time(
    name: str, companion: str
) -> None:
    alone = sort(stored(name))
    assert list(alone.waiting) == [name]
    assert ready(sort(stored(name), waiting=alone.waiting, now_s=1014)) == {}
    assert ready(sort(stored(name), waiting=alone.waiting, now_s=1015)) == {name: ()}
    assert ready(sort(stored(name), stored(companion), waiting=alone.waiting, now_s=1001)) == {
        name: (companion,)
    }


def test_a_tiff_goes_at_once_and_a_later_sidecar_makes_another_arrival() -> None:
    (alone,) = sort(stored("a.tif")).ready
    (later,) = sort(stored("a.tif"), stored("a.tfw", at_s=5)).ready
    assert (later.key, later.sidecars) == (alone.key, ("a.tfw",))
    assert later.etag != alone.etag
    assert later.last_modified_utc == NOON + timedelta(seconds=5)


def test_letter_case_of_the_parts_does_not_matter() -> None:
    parts = [stored(f"in/{name}") for name in ("ROADS.SHP", "roads.dbf", "roads.PRJ", "Roads.shx")]
    assert ready(sort(*parts)) == {"in/ROADS.SHP": ("in/Roads.shx", "in/roads.PRJ", "in/roads.dbf")}
    two = [
        stored(f"in/{stem}.{end}") for stem in ("A", "a") for end in ("shp", "dbf", "shx", "prj")
    ]
    assert ready(sort(*two)) == {
        f"in/{stem}.shp": tuple(f"in/{stem}.{end}" for end in ("dbf", "prj", "shx"))
        for stem in ("A", "a")
    }


def test_parts_without_their_shapefile_wait_and_then_go_to_be_refused() -> None:
    alone = sort(stored("a.dbf"))
    assert list(alone.waiting) == ["a.dbf"]
    assert ready(sort(stored("a.dbf"), waiting=alone.waiting, now_s=1060)) == {"a.dbf": ()}


def test_a_geopackage_that_is_open_waits() -> None:
    open_still = sort(stored("a.gpkg"), stored("a.gpkg-wal"))
    assert list(open_still.waiting) == ["a.gpkg"]
    closed = sort(
        stored("a.gpkg"), stored("a.gpkg-wal", size_bytes=0), waiting=open_still.waiting, now_s=1001
    )
    assert ready(closed) == {"a.gpkg": ()}
    assert dict(closed.skipped)["a.gpkg-wal"].startswith("It belongs to 'a.gpkg'")


def test_an_empty_blob_is_left_at_once_and_an_empty_file_after_the_wait() -> None:
    assert sort(stored("a.tif", size_bytes=0)).skipped == (("a.tif", "It is empty."),)
    first = sort(stored("a.tif", size_bytes=0), is_local=True)
    still = sort(stored("a.tif", size_bytes=0), waiting=first.waiting, is_local=True, now_s=1059)
    assert list(still.waiting) == ["a.tif"]
    assert sort(
        stored("a.tif", size_bytes=0), waiting=still.waiting, is_local=True, now_s=1060
    ).skipped == (("a.tif", "It is empty."),)


def test_a_submitted_object_is_left_until_a_sidecar_of_another_arrives() -> None:
    submitted = stored("a.tif", metadata={UPLOAD_ORIGIN: "1-2-3"})
    assert sort(submitted).skipped == (("a.tif", "A client submitted it."),)
    assert ready(sort(submitted, stored("a.tfw"))) == {"a.tif": ("a.tfw",)}


def test_every_left_object_has_a_reason() -> None:
    watch = Watch(name="tiffs", include=("*.tif",))
    keys = (
        "in/.hidden/a.tif",
        "base.gdb/a00000001.gdbtable",
        "lonely.tfw",
        "a.tar.gz",
        "b.geojson",
    )
    left = dict(sort(*map(stored, keys), watch=watch).skipped)
    assert left["in/.hidden/a.tif"] == "It is hidden."
    assert "Zip that folder" in left["base.gdb/a00000001.gdbtable"]
    assert left["lonely.tfw"] == "It is a sidecar of a file that is not here."
    assert "archive of a kind that is not supported" in left["a.tar.gz"]
    assert "'tiffs'" in left["b.geojson"]


def test_patterns_select_sources_and_not_their_sidecars() -> None:
    watch = Watch(name="tiffs", prefix="in/", include=("*.tif",), exclude=("*_mask.tif",))
    found = sort(stored("in/a.tif"), stored("in/a.tfw"), stored("in/a_mask.tif"), watch=watch)
    assert ready(found) == {"in/a.tif": ("in/a.tfw",)}


def test_a_file_without_a_known_extension_needs_its_content() -> None:
    assert sort(stored("scene"), stored("table.txt"), stored("a.dat")).unnamed == (
        "a.dat",
        "scene",
        "table.txt",
    )
    assert list(sort(stored("scene"), is_local=True).waiting) == ["scene"]


def test_an_object_that_is_old_by_the_clock_of_the_store_does_not_wait() -> None:
    objects = [stored("a.png", at_s=-CLOCK_ERROR_S - 60), stored("b.png", at_s=-CLOCK_ERROR_S)]
    found = sort_out(objects, {}, WATCH, is_local=True, now_s=5.0, at_utc=NOON)
    assert (ready(found), list(found.waiting)) == ({"a.png": ()}, ["b.png"])


STEMS = st.sampled_from(["a", "b", "A", "in/a", "in/a.b", "x.gdb/a", ".a", "a.tif"])
SUFFIXES = st.sampled_from(
    ["", ".tif", ".tfw", ".TFW", ".tif.aux.xml", ".aux.xml", ".ovr", ".tif.ovr", ".png", ".pgw",
     ".prj", ".shp", ".shx", ".dbf", ".cpg", ".qix", ".shp.xml", ".gpkg", ".gpkg-wal",
     ".geojson", ".csv", ".csvt", ".txt", ".xml", ".dat", ".zip", ".gz", ".gml",
     ".resolved.gml", ".jp2"]
)  # fmt: skip
OBJECTS = st.lists(
    st.builds(
        stored,
        st.builds(lambda stem, suffix: stem + suffix, STEMS, SUFFIXES),
        etag=st.sampled_from("12"),
        size_bytes=st.sampled_from([0, 5]),
        metadata=st.sampled_from([{}, {UPLOAD_ORIGIN: "1"}]),
        at_s=st.sampled_from([-10_000.0, 0.0]),
    ),
    max_size=12,
    unique_by=lambda stored: stored.reference.key,
)


@given(
    OBJECTS,
    OBJECTS,
    st.booleans(),
    st.sampled_from([0.0, 1.0, 15.0, 60.0]),
    st.sampled_from([None, NOON]),
    st.randoms(),
)
def test_every_object_is_in_exactly_one_group_in_any_order(
    before: list[StoredObject],
    objects: list[StoredObject],
    is_local: bool,
    later_s: float,
    at_utc: datetime | None,
    order: object,
) -> None:
    waiting = sort(*before, is_local=is_local).waiting
    found = sort_out(
        objects, waiting, WATCH, is_local=is_local, now_s=1000 + later_s, at_utc=at_utc
    )
    in_ready = {key for arrival in found.ready for key in (arrival.key, *arrival.sidecars)}
    places = [in_ready, set(found.waiting), {key for key, _ in found.skipped}, set(found.unnamed)]
    assert sorted(key for place in places for key in place) == sorted(
        stored.reference.key for stored in objects
    )
    shuffled = list(objects)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert (
        sort_out(shuffled, waiting, WATCH, is_local=is_local, now_s=1000 + later_s, at_utc=at_utc)
        == found
    )


@given(OBJECTS, st.booleans())
def test_nothing_waits_forever(objects: list[StoredObject], is_local: bool) -> None:
    first = sort(*objects, is_local=is_local)
    later = sort(*objects, waiting=first.waiting, is_local=is_local, now_s=1060)
    assert later.waiting == {}
    assert {arrival.key for arrival in later.ready} >= {arrival.key for arrival in first.ready}


def test_the_later_of_two_states_of_an_object_counts() -> None:
    earlier, later = stored("a.tif", etag="2"), stored("a.tif", etag="1", at_s=1)
    assert sets_of([later, earlier]) == sets_of([earlier, later]) == {"a.": {"a.tif": later}}


def test_the_etag_of_an_arrival_is_the_one_that_its_run_finds(tmp_path: Path) -> None:
    """For every format, with sidecars of all kinds, some of which no driver reads."""
    made, scratch = tmp_path / "made", tmp_path / "scratch"
    scratch.mkdir()
    made.mkdir()
    write_georeferenced_rasters(made / "rasters", scratch)
    write_pictures(made / "pictures")
    write_vectors(made / "vectors", scratch)
    write_pictures(made / "shared")
    for name in (
        "picture.prj",
        "picture.png.aux.xml",
        "photo.prj",
        "photo.wld",
        "photo.jpg.ovr",
        "picture.png.msk",
    ):
        (made / "shared" / name).write_text("<PAMDataset/>")
    for source in (
        "rasters/plain.tif",
        "rasters/erdas.img",
        "rasters/lossless.jp2",
        "rasters/grid.asc",
        "rasters/N47E008.hgt",
    ):
        for suffix in (".aux.xml", ".ovr", ".xml"):
            (made / (source + suffix)).write_text("<PAMDataset/>")
        for suffix in (".tfw", ".wld", ".WLD", ".prj", ".aux", ".ige"):
            (made / source).with_suffix(suffix).write_text(WORLD_FILE)
    (made / "vectors" / "places.csvt").write_text('"String","Integer","Real","Real"')
    (made / "vectors" / "PLACES.prj").write_text("its stem is in upper case")
    (made / "vectors" / "parts.qix").write_text("an index")
    store = FolderStore(tmp_path / "store")
    for path in sorted(path for path in made.rglob("*") if path.is_file()):
        store.put_file("bronze", path.relative_to(made).as_posix(), path, metadata={})
    found = _whole(list(store.list("bronze")))
    received = {
        arrival.key: receive(
            store, "bronze", arrival.key, ArrivalOptions(), recipe=RASTER.first.recipe
        )
        for arrival in found.ready
    }
    assert {arrival.key: arrival.etag for arrival in found.ready} == {
        key: arrived.etag for key, arrived in received.items()
    }
    assert len(received) == 24
    assert sum(bool(arrived.sidecars) for arrived in received.values()) >= 9


def _whole(objects: Sequence[StoredObject]) -> SortedOut:
    return sort_out(
        objects, {}, Watch(name="all", settle_s=0, complete_within_s=0), is_local=True, now_s=0
    )
