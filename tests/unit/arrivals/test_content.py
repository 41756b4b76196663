"""Recognise an arrival by its content without fetching it whole."""

from pathlib import Path

import pytest

from geo_platform.arrivals.arrival import arrival_of
from geo_platform.arrivals.content import arrival_by_content, chain_of_arrival
from geo_platform.arrivals.readiness import sort_out
from geo_platform.arrivals.watch import Watch
from geo_platform.chains.raster import RASTER
from geo_platform.contracts.arrival import SourceKind
from geo_platform.errors import StoreUnavailable
from geo_platform.options import ArrivalOptions
from geo_platform.source.arrival import receive
from tests.support.far import FarFolder
from tests.support.formats import write_georeferenced_rasters, write_pictures, write_vectors

WATCH = Watch(name="all", settle_s=0, complete_within_s=0)


@pytest.fixture
def store(tmp_path: Path) -> FarFolder:
    return FarFolder(tmp_path / "store")


def test_every_format_goes_to_its_chain_without_fetching_it_whole(
    store: FarFolder, tmp_path: Path
) -> None:
    made, scratch = tmp_path / "made", tmp_path / "scratch"
    scratch.mkdir()
    made.mkdir()
    write_georeferenced_rasters(made / "rasters", scratch)
    write_pictures(made / "pictures")
    write_vectors(made / "vectors", scratch)
    for path in sorted(path for path in made.rglob("*") if path.is_file()):
        store.put_file("bronze", path.relative_to(made).as_posix(), path, metadata={})
    found = sort_out(list(store.list("bronze")), {}, WATCH, is_local=True, now_s=0).ready
    kinds = {arrival.key: chain_of_arrival(store, arrival).kind for arrival in found}
    assert store.whole == []
    assert kinds == {
        key: receive(store, "bronze", key, ArrivalOptions(), recipe=RASTER.first.recipe).kind
        for key in kinds
    }
    assert set(kinds.values()) == set(SourceKind)


def test_the_content_decides_not_the_name(store: FarFolder, tmp_path: Path) -> None:
    write_pictures(tmp_path / "made")
    put = store.put_file("bronze", "roads.geojson", tmp_path / "made" / "picture.png", metadata={})
    assert chain_of_arrival(store, arrival_of(put)).kind is SourceKind.raster


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("a.tif", SourceKind.raster),
        ("a.geojson", SourceKind.vector),
        ("a.dbf", SourceKind.vector),
        ("a.zip", SourceKind.vector),
    ],
)
def test_a_refused_source_goes_by_its_name_to_a_run_that_reports_why(
    store: FarFolder, key: str, kind: SourceKind
) -> None:
    arrival = arrival_of(store.put_bytes("bronze", key, b"%PDF-1.7 a letter", metadata={}))
    assert chain_of_arrival(store, arrival).kind is kind
    store.delete("bronze", key)
    assert chain_of_arrival(store, arrival).kind is kind, "it was deleted meanwhile"


def test_an_unavailable_store_is_an_error_and_no_kind(store: FarFolder) -> None:
    put = store.put_bytes("bronze", "scene", b"II*\0", metadata={})
    store.fails_at, store.fault = 0, StoreUnavailable("gone")
    with pytest.raises(StoreUnavailable):
        chain_of_arrival(store, arrival_of(put))
    with pytest.raises(StoreUnavailable):
        arrival_by_content(store, put)


def test_a_name_without_a_known_extension_is_recognised_by_content(
    store: FarFolder, tmp_path: Path
) -> None:
    write_vectors(tmp_path / "made", tmp_path)
    recognised = {
        "package": (tmp_path / "made" / "package.gpkg").read_bytes(),
        "heights.txt": b"ncols 2\nnrows 1\nxllcorner 0\nyllcorner 0\ncellsize 1\n1 2\n",
        "broken.dat": b"II*\0\xff\xff\xff\xff the directory lies beyond the end",
    }
    other = {"letter.txt": b"Dear all,\n", "paper": b"%PDF-1.7"}
    for key, content in (recognised | other).items():
        put = store.put_bytes("bronze", key, content, metadata={})
        arrival = arrival_by_content(store, put)
        assert (arrival.etag if arrival else None) == (
            put.reference.etag if key in recognised else None
        ), key
    assert store.whole == []
