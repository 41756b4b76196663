"""The stage vector_features: every row is accounted for, work is reused, failures leave nothing."""

import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import geopandas
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from rasterio.errors import NotGeoreferencedWarning

from geo_platform import errors
from geo_platform.chains.vector import FEATURES
from geo_platform.contracts.vector import FeaturesLoaded
from geo_platform.ports import FeatureDataset, FeatureTarget
from geo_platform.storage.local.geoparquet import GeoParquetLake
from geo_platform.vector.load import load_features
from geo_platform.vector.options import VectorFeaturesOptions
from tests.unit.vector.harness import Platform, Write, dataset_key

BOWTIE = shapely.from_wkt("POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))")
SLIVER = shapely.from_wkt("POLYGON ((0 0, 1 1, 2 2, 0 0))")
SQUARE = shapely.box(2, 2, 3, 3)


@pytest.fixture
def mess(write: Write) -> Path:
    shapes = [
        SQUARE,
        None,
        BOWTIE,
        shapely.Polygon(),
        SLIVER,
        shapely.MultiPolygon([shapely.box(5, 5, 6, 6), shapely.box(7, 7, 8, 8)]),
    ]
    return write(
        geopandas.GeoDataFrame({"n": range(6)}, geometry=shapes, crs=4326),
        "mess.gpkg",
        geometry_type="MultiPolygon",
    )


def test_every_row_is_published_or_listed(platform: Platform, mess: Path) -> None:
    loaded = platform.load(platform.profile(mess))
    assert (loaded.read, loaded.inserted, loaded.rejected, loaded.repaired) == (6, 3, 3, 1)
    assert {reason.reason: reason.rows for reason in loaded.reject_reasons} == {
        "NULL_GEOMETRY": 1,
        "EMPTY_GEOMETRY": 1,
        "GEOMETRY_COLLAPSED": 1,
    }
    rejected = platform.rejected(loaded)
    assert [(row["row_number"], row["reason"]) for row in rejected] == [
        (1, "NULL_GEOMETRY"),
        (3, "EMPTY_GEOMETRY"),
        (4, "GEOMETRY_COLLAPSED"),
    ]
    assert shapely.from_wkb(rejected[2]["geometry"]).equals_exact(shapely.MultiPolygon([SLIVER]), 0)
    frame = platform.frame(loaded).set_index("n")
    assert set(frame.index) == {0, 2, 5}
    assert frame.is_valid.all()
    assert set(frame.geom_type) == {"MultiPolygon"}
    assert frame.geometry[2].area == pytest.approx(0.5)


def test_the_same_source_and_options_are_reused(platform: Platform, mess: Path) -> None:
    profiled = platform.profile(mess)
    first = platform.load(profiled)
    again = platform.load(profiled)
    assert again.was_reused
    assert not first.was_reused
    assert again.model_copy(update={"was_reused": False, "seconds": first.seconds}) == first
    assert not platform.load(profiled, force=True).was_reused
    assert platform.load(profiled, target_crs="EPSG:3857").fingerprint != first.fingerprint


def test_a_changed_or_missing_object_is_made_again(platform: Platform, mess: Path) -> None:
    profiled = platform.profile(mess)
    first = platform.load(profiled)
    assert first.rejected_object is not None
    platform.objects.delete("silver", first.rejected_object.key)
    second = platform.load(profiled)
    assert not second.was_reused
    record = next(key for key in platform.silver() if key.endswith("features.json"))
    platform.objects.put_bytes(
        "silver", record, b'{"type": "FeaturesLoaded", "schema_version": 0}', metadata={}
    )
    assert not platform.load(profiled).was_reused
    assert json.loads(platform.objects.read_bytes("silver", record))["message"]["inserted"] == 3


def test_a_sound_file_of_a_run_that_has_not_recorded_it_yet_is_kept(
    platform: Platform, mess: Path
) -> None:
    """The other run publishes an item that names its file, so the file must not be replaced."""
    profiled = platform.profile(mess)
    (first,) = platform.load(profiled, run_id="first").datasets
    _delete_record(platform)
    (second,) = platform.load(profiled, run_id="second").datasets
    assert second == first
    (forced,) = platform.load(profiled, run_id="third", force=True).datasets
    assert forced.sha256 != first.sha256


def test_a_damaged_file_without_a_record_is_replaced(platform: Platform, mess: Path) -> None:
    profiled = platform.profile(mess)
    (first,) = platform.load(profiled, run_id="first").datasets
    assert first.dataset_object is not None
    _delete_record(platform)
    key = first.dataset_object.key
    metadata = platform.objects.stat("silver", key).metadata
    platform.objects.put_bytes("silver", key, b"PAR1", metadata=metadata)
    assert len(platform.frame(platform.load(profiled, run_id="second"))) == 3


def _delete_record(platform: Platform) -> None:
    record = next(key for key in platform.silver() if key.endswith("features.json"))
    platform.objects.delete("silver", record)


def test_a_name_belongs_to_one_source(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    one, other = write(parcels, "one.gpkg"), write(parcels, "other.gpkg")
    platform.load(platform.profile(one), table_name="Shared")
    with pytest.raises(errors.TableExists, match=r"one\.gpkg"):
        platform.load(platform.profile(other), table_name="shared")
    assert (
        platform.load(platform.profile(other), table_name="shared", overwrite=True).dataset
        == "shared"
    )
    assert (
        platform.load(platform.profile(one), table_name="shared", schema_name="elsewhere").dataset
        == "shared"
    )


# Two object names that give the same dataset name.
ALIKE = ("untold_540.gpkg", "untold_-540.gpkg")


def test_a_name_that_two_sources_share_belongs_to_the_first_and_the_error_names_it(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    one, other = (platform.profile(write(parcels, name)) for name in ALIKE)
    assert platform.load(one).dataset == "untold_540"
    with pytest.raises(
        errors.TableExists,
        match=r"came from .*/untold_540\.gpkg, not from .*/untold_(-|%2D)540\.gpkg",
    ) as refused:
        platform.load(other)
    assert refused.value.remedy == "Choose another table_name and another item_id."
    assert platform.load(other, table_name="untold_minus_540").dataset == "untold_minus_540"


def test_of_two_sources_loading_under_one_name_at_once_at_most_one_succeeds(
    platform: Platform,
    parcels: geopandas.GeoDataFrame,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load, both_checked_the_name = GeoParquetLake.load, Barrier(2)

    def load_together(
        lake: GeoParquetLake, target: FeatureTarget, batches: Any, *, scratch: Path
    ) -> FeatureDataset:
        both_checked_the_name.wait(60)
        return load(lake, target, batches, scratch=scratch)

    profiled = [platform.profile(write(parcels, name)) for name in ALIKE]
    with monkeypatch.context() as patched, ThreadPoolExecutor(2) as pool:
        patched.setattr(GeoParquetLake, "load", load_together)
        loads = [pool.submit(platform.load, one) for one in profiled]
        faults = [load.exception() for load in loads]
    assert any(isinstance(fault, errors.TableExists) for fault in faults), faults
    assert all(fault is None or isinstance(fault, errors.TableExists) for fault in faults), faults
    records = [key for key in platform.silver() if key.endswith("/features.json")]
    assert len(records) == faults.count(None)
    if faults.count(None) == 0:  # both records in one clock tick: both were withdrawn
        assert platform.load(profiled[0]).dataset == "untold_540"


def test_load_mode_create_refuses_an_existing_dataset(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    profiled = platform.profile(write(parcels, "one.gpkg"))
    created = platform.load(profiled, load_mode="create")
    assert platform.load(profiled, load_mode="create").was_reused
    assert created.load_mode == "create"
    with pytest.raises(errors.TableExists, match="exists already"):
        platform.load(profiled, load_mode="create", dimension="keep")


def test_append_is_refused_for_files(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    profiled = platform.profile(write(parcels, "one.gpkg"))
    column = platform.load(profiled).fields[0].published
    with pytest.raises(errors.ParameterInvalid, match="key_columns"):
        platform.load(profiled, load_mode="append")
    with pytest.raises(errors.ParameterInvalid, match="not published: nowhere"):
        platform.load(profiled, load_mode="append", key_columns=["nowhere"])
    with pytest.raises(errors.ParameterInvalid, match="written once"):
        platform.load(profiled, load_mode="append", key_columns=[column])


def test_a_refusal_leaves_nothing_in_the_store(platform: Platform, write: Write) -> None:
    shapes = [shapely.Point(0, 0)] * 3000 + [shapely.box(0, 0, 1, 1)]
    late = write(
        geopandas.GeoDataFrame({"n": range(3001)}, geometry=shapes, crs=4326),
        "late.gpkg",
        geometry_type="Unknown",
    )
    profiled = platform.profile(late)
    with pytest.raises(errors.GeometryMixed, match="Row 3000 is a Polygon"):
        platform.load(profiled, chunk_size=500)
    all_bad = write(
        geopandas.GeoDataFrame({"n": [0, 1]}, geometry=[SLIVER, None], crs=4326), "bad.gpkg"
    )
    with pytest.raises(errors.GeometryUnrepairable, match="1 GEOMETRY_COLLAPSED, 1 NULL_GEOMETRY"):
        platform.load(platform.profile(all_bad))
    assert platform.silver() == []
    kept = platform.load(profiled, mixed_geometry="keep")
    assert (kept.geometry_type, kept.inserted) == ("Geometry", 3001)
    assert set(platform.frame(kept).geom_type) == {"MultiPoint", "MultiPolygon"}


class LosingStore:
    """A feature store that reports one row less than it was given."""

    def check_free(self, target: FeatureTarget) -> None:
        """Accept any name."""

    def holds(self, stored: object, table: object) -> bool:
        return False

    def sweep(self, older_than_utc: object) -> tuple[str, ...]:
        return ()

    def load(self, target: FeatureTarget, batches: object, *, scratch: Path) -> FeatureDataset:
        rows = sum(batch.num_rows for batch in batches)  # type: ignore[attr-defined]
        return FeatureDataset("nowhere", target.dataset, None, None, rows - 1, None)  # type: ignore[arg-type]


def test_a_lost_row_is_an_error(platform: Platform, mess: Path) -> None:
    with pytest.raises(AssertionError, match="6 rows read, 3 inserted, 3 rejected, 2 in the store"):
        load_features(
            platform.profile(mess),
            VectorFeaturesOptions(),
            platform.objects,
            LosingStore(),
            recipe=FEATURES.recipe,
            run_id="r",
            scratch=platform.scratch,
        )


def test_rows_outside_the_range_of_degrees_are_rejected_if_the_extent_is_unknown(
    platform: Platform, write: Write
) -> None:
    shapes = [
        shapely.Point(4, 50),
        shapely.Point(4, 95),
        shapely.Point(600, 0),
        shapely.Point(185, 0),
    ]
    path = write(
        geopandas.GeoDataFrame({"n": range(4)}, geometry=shapes, crs=4326),
        "p.geojsonl",
        driver="GeoJSONSeq",
    )
    loaded = platform.load(platform.profile(path))
    assert [(row["row_number"], row["reason"]) for row in platform.rejected(loaded)] == [
        (1, "COORDINATES_IMPLAUSIBLE"),
        (2, "COORDINATES_IMPLAUSIBLE"),
    ]


def test_reprojection_moves_coordinates_and_is_reported(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    loaded = platform.load(platform.profile(write(parcels, "p.gpkg")), target_crs="EPSG:3035")
    assert loaded.was_reprojected
    assert (loaded.srid, loaded.asked_crs, loaded.crs.came_from) == (3035, "EPSG:3035", "user")
    back = platform.frame(loaded).to_crs(4326)
    differing = back.union_all().symmetric_difference(parcels.union_all()).area
    assert differing < 1e-6 * parcels.union_all().area
    assert loaded.lonlat_bounds.west == pytest.approx(4, abs=0.01)


def test_heights_are_dropped_or_kept(platform: Platform, write: Write) -> None:
    shapes = [shapely.LineString([(0, 0, 7), (1, 1, 8)]), shapely.LineString([(0, 0), (1, 1)])]
    path = write(
        geopandas.GeoDataFrame({"n": [0, 1]}, geometry=shapes, crs=4326),
        "z.gpkg",
        geometry_type="LineString Z",
    )
    profiled = platform.profile(path)
    flat = platform.load(profiled)
    kept = platform.load(profiled, dimension="keep")
    assert (flat.dimension, kept.dimension) == ("xy", "xyz")
    assert not platform.frame(flat).has_z.any()
    frame = platform.frame(kept).set_index("n")
    assert shapely.get_coordinates(frame.geometry[0], include_z=True)[:, 2].tolist() == [7, 8]


def test_simplifying_and_snapping_use_units_of_the_published_crs(
    platform: Platform, write: Write
) -> None:
    circle = shapely.Point(150_000, 170_000).buffer(100, quad_segs=64)
    path = write(geopandas.GeoDataFrame({"n": [0]}, geometry=[circle], crs=31370), "c.gpkg")
    loaded = platform.load(platform.profile(path), simplify_tolerance=5.0, quantize_grid=1.0)
    shape = platform.frame(loaded).geometry[0]
    coordinates = shapely.get_coordinates(shape)
    assert len(coordinates) < 30
    assert (coordinates == coordinates.round()).all()
    assert shape.is_valid


def test_names_are_cleaned_and_the_mapping_is_recorded(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write
) -> None:
    profiled = platform.profile(write(parcels.rename(columns={"area": "bbox"}), "p.gpkg"))
    loaded = platform.load(profiled, column_mapping={"Id": "parcel_id"})
    assert [(field.source, field.published) for field in loaded.fields] == [
        ("fid", "fid"),
        ("Id", "parcel_id"),
        ("Näam", "naam"),
        ("bbox", "bbox_2"),
    ]
    assert platform.table(loaded).schema.names == [
        "fid",
        "parcel_id",
        "naam",
        "bbox_2",
        "geometry",
        "bbox",
    ]
    with pytest.raises(errors.ParameterInvalid, match="nope"):
        platform.load(profiled, column_mapping={"nope": "x"})
    with pytest.raises(errors.TableNameInvalid):
        platform.load(profiled, table_name="select")


def test_the_map_is_a_picture_of_the_dataset(
    platform: Platform, parcels: geopandas.GeoDataFrame, write: Write, tmp_path: Path
) -> None:
    loaded = platform.load(platform.profile(write(parcels, "p.gpkg")))
    picture = tmp_path / "map.png"
    picture.write_bytes(platform.objects.read_bytes("silver", loaded.thumbnail.key))
    with pytest.warns(NotGeoreferencedWarning):
        image = rasterio.open(picture)
    with image:
        pixels = image.read()
        assert image.driver == "PNG"
    assert pixels.shape[0] == 3
    assert max(pixels.shape[1:]) == 512
    middle = pixels[:, pixels.shape[1] // 2]
    runs = (abs(middle[:, 1:].astype(int) - middle[:, :-1].astype(int)).sum(axis=0) > 60).sum()
    assert runs >= 10


def test_progress_is_reported(platform: Platform, mess: Path) -> None:
    texts: list[str] = []
    profiled, options = platform.profile(mess), VectorFeaturesOptions()
    loaded: FeaturesLoaded = load_features(
        profiled,
        options,
        platform.objects,
        GeoParquetLake(platform.objects),
        recipe=FEATURES.recipe,
        run_id="r",
        scratch=platform.scratch,
        notify=texts.append,
    )
    assert texts == ["6 rows read, 3 rejected"]
    stored = platform.objects.stat("silver", dataset_key(loaded))
    assert stored.metadata["run_id"] == "r"
    with platform.objects.local_path("silver", dataset_key(loaded)) as path:
        assert (
            pq.read_schema(path).metadata[b"geo_platform:source_uri"].decode() == loaded.source.uri
        )


def test_indexes_are_checked_and_files_warn_that_they_have_none(
    platform: Platform, mess: Path
) -> None:
    profiled = platform.profile(mess)
    loaded = platform.load(profiled, indexes_attributes=["n"], indexes_spatial=False)
    assert {finding.code for finding in loaded.warnings} == {
        "INDEXES_NOT_IN_FILES",
        "SPATIAL_ORDER_KEPT",
    }
    with pytest.raises(errors.ParameterInvalid, match="nope"):
        platform.load(profiled, indexes_attributes=["nope"])
    with pytest.raises(errors.ParameterInvalid, match="no times: n"):
        platform.load(profiled, indexes_temporal=["n"])


def test_edges_round_the_earth_are_said(platform: Platform, write: Write) -> None:
    torn = shapely.Polygon([(179, -18), (-179, -18), (-179, -17), (179, -17)])
    frame = geopandas.GeoDataFrame(geometry=[torn, shapely.box(-180, 0, 180, 1)], crs=4326)
    loaded = platform.load(platform.profile(write(frame, "torn.gpkg")))
    (finding,) = [found for found in loaded.warnings if found.code == "EDGES_ROUND_THE_EARTH"]
    assert "kept as they are drawn: 1." in finding.message
    assert loaded.cut == 0


def test_the_map_of_rows_on_both_sides_of_the_antimeridian_shows_them_together(
    platform: Platform, write: Write
) -> None:
    boxes = [shapely.box(178, -18, 180, -16), shapely.box(-180, -18, -178, -16)]
    frame = geopandas.GeoDataFrame(geometry=boxes, crs=4326)
    loaded = platform.load(platform.profile(write(frame, "fiji.gpkg")))
    with (
        platform.objects.local_path("silver", loaded.thumbnail.key) as path,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as opened:
            pixels = opened.read()
    is_drawn = (pixels != pixels[:, :1, :1]).any(axis=0)
    assert is_drawn.mean() > 0.8


def test_what_has_no_place_in_the_target_needs_another_target(
    platform: Platform, write: Write
) -> None:
    frame = geopandas.GeoDataFrame(geometry=[shapely.box(-1e6, -1e6, 1e6, 1e6)], crs=3031)
    profiled = platform.profile(write(frame, "pole.gpkg"))
    with pytest.raises(errors.GeometryUnrepairable) as refused:
        platform.load(profiled, target_crs="EPSG:3857")
    assert refused.value.details["reasons"] == {"REPROJECTION_FAILED": 1}
    assert refused.value.remedy.startswith("Choose a target_crs")
    # Follow it.
    assert platform.load(profiled, target_crs="ESRI:54030").inserted == 1
