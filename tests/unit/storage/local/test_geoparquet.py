"""The GeoParquet store: content and order of files, and nothing visible after a failure."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS

from geo_platform.contracts.message import SpatialReference
from geo_platform.errors import NoFeatures
from geo_platform.ports import FeatureDataset, FeatureTarget
from geo_platform.storage.local import hilbert_sort
from geo_platform.storage.local.folder import FolderStore
from geo_platform.storage.local.geoparquet import GeoParquetLake
from geo_platform.storage.local.geoparquet_order import spool_batches, write_in_order

SCHEMA = pa.schema(
    [("n", pa.int64()), ("name", pa.string()), pa.field("geometry", pa.binary(), nullable=False)]
)


def target(crs: str = "EPSG:4326") -> FeatureTarget:
    reference = SpatialReference(
        wkt=CRS.from_user_input(crs).to_wkt(), authority_code=crs, came_from="file"
    )
    return FeatureTarget(
        "roads",
        SCHEMA,
        "geometry",
        reference,
        "MultiPolygon",
        "f" * 32,
        "vectors/geo/roads",
        {"source_uri": "file:///é"},
    )


def batches(geometries: list[shapely.Geometry], rows: int = 1000) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(geometries), rows):
        part = geometries[start : start + rows]
        numbers = range(start, start + len(part))
        wkb = shapely.to_wkb(np.array(part, dtype=object), flavor="iso").tolist()
        yield pa.RecordBatch.from_arrays(
            [pa.array(numbers), pa.array([f"n{n}" for n in numbers]), pa.array(wkb, pa.binary())],
            schema=SCHEMA,
        )


def scattered(count: int, side: float = 0.01) -> list[shapely.Geometry]:
    random = np.random.default_rng(7)
    x, y = random.uniform(-170, 170, count), random.uniform(-80, 80, count)
    return list(shapely.box(x, y, x + side, y + side))


def load(tmp_path: Path, geometries: list[shapely.Geometry]) -> tuple[FeatureDataset, Path]:
    lake = GeoParquetLake(FolderStore(tmp_path / "store"))
    dataset = lake.load(target(), batches(geometries), scratch=tmp_path)
    return dataset, tmp_path / "store" / "silver" / "vectors" / "geo" / "roads" / (
        "f" * 32
    ) / "roads.parquet"


def test_other_programs_can_read_the_file(tmp_path: Path) -> None:
    shapes = scattered(500)
    dataset, path = load(tmp_path, shapes)
    frame = geopandas.read_parquet(path)
    assert (dataset.rows, len(frame), frame.crs.to_epsg()) == (500, 500, 4326)
    ordered = frame.set_index("n").sort_index().geometry
    assert shapely.equals_exact(ordered.to_numpy(), np.array(shapes, dtype=object)).all()
    assert dataset.bounds.xyxy == pytest.approx(tuple(frame.total_bounds))
    some = geopandas.read_parquet(path, bbox=(0, 0, 60, 60))
    assert 0 < len(some) < 500


def test_metadata_is_geoparquet_1_1(tmp_path: Path) -> None:
    dataset, path = load(
        tmp_path,
        [
            shapely.box(0, 0, 1, 1),
            shapely.Point(1, 2, 30),
            shapely.MultiPolygon([shapely.box(3, 3, 4, 4)]),
        ],
    )
    file = pq.ParquetFile(path)
    geo = json.loads(file.schema_arrow.metadata[b"geo"])
    column = geo["columns"]["geometry"]
    assert (geo["version"], geo["primary_column"], column["encoding"]) == (
        "1.1.0",
        "geometry",
        "WKB",
    )
    assert column["geometry_types"] == ["MultiPolygon", "Point Z", "Polygon"]
    assert column["bbox"] == [0, 0, 30, 4, 4, 30]
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 4326}
    assert column["covering"]["bbox"]["xmax"] == ["bbox", "xmax"]
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert dataset.stored is not None
    assert (
        FolderStore(tmp_path / "store").stat("silver", dataset.stored.key).metadata["source_uri"]
        == "file:///é"
    )
    file.close()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e7, 1e7), st.floats(-1e7, 1e7)), min_size=1, max_size=50))
def test_boxes_cover_their_geometries(
    tmp_path_factory: pytest.TempPathFactory, places: list[tuple[float, float]]
) -> None:
    folder = tmp_path_factory.mktemp("boxes")
    _, path = load(folder, [shapely.Point(place) for place in places])
    for row in pq.read_table(path).to_pylist():
        x, y = shapely.get_coordinates(shapely.from_wkb(row["geometry"]))[0]
        assert row["bbox"]["xmin"] <= x <= row["bbox"]["xmax"]
        assert row["bbox"]["ymin"] <= y <= row["bbox"]["ymax"]


def walk(path: Path) -> float:
    """Return the length of the path from each row to the next."""
    boxes = pq.read_table(path, columns=["bbox"]).column("bbox").combine_chunks()
    xy = np.column_stack([boxes.field("xmin"), boxes.field("ymin")]).astype(float)
    return float(np.hypot(*np.diff(xy, axis=0).T).sum())


def test_neighbours_in_space_are_neighbours_in_the_file(tmp_path: Path) -> None:
    shapes = scattered(3000)
    _, path = load(tmp_path, shapes)
    corners = np.array([shape.bounds[:2] for shape in shapes])
    as_it_came = np.hypot(*np.diff(corners, axis=0).T).sum()
    assert walk(path) < as_it_came / 20


@pytest.mark.parametrize("bucket_bytes", [2000, 20_000])
def test_sorting_in_buckets_equals_sorting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket_bytes: int
) -> None:
    """Many buckets, nested buckets, equal keys, and an outlier that puts the rest in one cell."""
    shapes = [shapely.box(0, 0, 1e-3, 1e-3)] * 200 + [
        shapely.transform(shape, lambda xy: xy / 1e4) for shape in scattered(1500)
    ]
    shapes.append(shapely.box(179, 89, 180, 90))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    _, expected = load(whole, shapes)
    monkeypatch.setattr(hilbert_sort, "_BUCKET_BYTES", bucket_bytes)
    _, found = load(parts, shapes)
    assert pq.read_table(found, columns=["n"]).equals(pq.read_table(expected, columns=["n"]))


def test_scratch_holds_only_the_result(tmp_path: Path) -> None:
    spool = spool_batches(batches(scattered(100)), target(), tmp_path / "unsorted.arrow")
    write_in_order(spool, target(), tmp_path / "out.parquet")
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["out.parquet"]


def test_a_failed_load_leaves_nothing_visible(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")

    def failing_batches() -> Iterator[pa.RecordBatch]:
        yield from batches(scattered(10))
        raise ValueError("the source broke")

    with pytest.raises(ValueError, match="broke"):
        GeoParquetLake(store).load(target(), failing_batches(), scratch=tmp_path)
    with pytest.raises(NoFeatures):
        GeoParquetLake(store).load(target(), iter(()), scratch=tmp_path)
    assert list(store.list("silver")) == []


def test_of_two_concurrent_loads_the_second_uses_the_file_of_the_first(tmp_path: Path) -> None:
    """A replaced file would contradict the item of the first run: the footer names the run."""
    lake = GeoParquetLake(FolderStore(tmp_path / "store"))
    mine, others = (
        replace(target(), metadata={"source_uri": "file:///a", "run_id": run})
        for run in ("mine", "others")
    )
    first: list[FeatureDataset] = []

    def batches_during_another_load() -> Iterator[pa.RecordBatch]:
        yield from batches(scattered(50))
        (tmp_path / "others").mkdir()
        first.append(lake.load(others, batches(scattered(50)), scratch=tmp_path / "others"))

    (tmp_path / "mine").mkdir()
    second = lake.load(mine, batches_during_another_load(), scratch=tmp_path / "mine")
    assert second == first[0]
    (stored,) = FolderStore(tmp_path / "store").list("silver")
    assert stored.metadata["run_id"] == "others"
    assert not [path for path in (tmp_path / "mine").rglob("*") if path.is_file()]
