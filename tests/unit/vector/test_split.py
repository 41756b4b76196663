"""Split a layer of mixed geometry into one dataset for each geometry family."""

import json
from pathlib import Path
from typing import Any

import geopandas
import pytest
import shapely

from geo_platform import errors
from geo_platform.contracts.stored import load_message
from geo_platform.contracts.vector import FeaturesLoaded
from geo_platform.storage.postgres.postgis_plan import version_name
from geo_platform.vector.family_datasets import name_of_family
from geo_platform.vector.geometry_families import Family
from tests.unit.vector.harness import Platform, Write

SHAPES = [
    shapely.Point(4, 50),
    shapely.box(4, 50, 5, 51),
    shapely.LineString([(4, 50), (5, 51)]),
    shapely.MultiPoint([(4.5, 50.5), (4.6, 50.6)]),
    shapely.GeometryCollection([shapely.Point(6, 52), shapely.LineString([(6, 52), (7, 53)])]),
    None,
    shapely.MultiPolygon([shapely.box(2, 50, 3, 51)]),
]


def collection(shapes: list[shapely.Geometry | None]) -> str:
    """Return the shapes as GeoJSON; the property n counts them."""
    features = [
        {
            "type": "Feature",
            "properties": {"n": number},
            "geometry": None if shape is None else json.loads(shapely.to_geojson(shape)),
        }
        for number, shape in enumerate(shapes)
    ]
    return json.dumps({"type": "FeatureCollection", "features": features})


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    path = tmp_path / "drawn.geojson"
    path.write_text(collection(SHAPES))
    return path


def numbers(platform: Platform, loaded: FeaturesLoaded) -> dict[str, list[int]]:
    return {
        dataset.dataset: sorted(platform.frame(loaded, index)["n"])
        for index, dataset in enumerate(loaded.datasets)
    }


def test_geojson_is_split_by_default_with_one_account_of_rows(
    platform: Platform, drawn: Path
) -> None:
    profiled = platform.profile(drawn)
    loaded = platform.load(profiled)
    assert numbers(platform, loaded) == {
        "drawn_points": [0, 3],
        "drawn_lines": [2],
        "drawn_polygons": [1, 6],
        "drawn_collections": [4],
    }
    assert (loaded.read, loaded.inserted, loaded.rejected) == (7, 6, 1)
    assert [(each.family, each.geometry_type, each.rows) for each in loaded.datasets] == [
        ("points", "MultiPoint", 2),
        ("lines", "MultiLineString", 1),
        ("polygons", "MultiPolygon", 2),
        ("collections", "GeometryCollection", 1),
    ]
    assert (loaded.dataset, loaded.geometry_type) == ("drawn", "Geometry")
    assert loaded.bounds.xyxy == (2, 50, 7, 53)
    assert loaded.datasets[1].bounds.xyxy == (4, 50, 5, 51)
    assert [row["row_number"] for row in platform.rejected(loaded)] == [5]
    assert platform.load(profiled).was_reused
    lost = loaded.datasets[2].dataset_object
    assert lost is not None
    platform.objects.delete("silver", lost.key)
    assert not platform.load(profiled).was_reused


def test_a_layer_of_one_family_keeps_the_plain_name(platform: Platform, tmp_path: Path) -> None:
    for name, shapes, geometry_type in (
        ("several", [SHAPES[0], SHAPES[3]], "MultiPoint"),
        ("others", [SHAPES[4]], "GeometryCollection"),
    ):
        path = tmp_path / f"{name}.geojson"
        path.write_text(collection(shapes))
        (dataset,) = platform.load(platform.profile(path)).datasets
        assert (dataset.dataset, dataset.family, dataset.geometry_type) == (
            name,
            None,
            geometry_type,
        )


def test_a_family_that_the_sample_did_not_show_splits_the_layer_too(
    platform: Platform, write: Write
) -> None:
    shapes = [shapely.Point(0, 0)] * 3000 + [shapely.box(0, 0, 1, 1)]
    frame = geopandas.GeoDataFrame({"n": range(3001)}, geometry=shapes, crs=4326)
    late = write(frame, "late.fgb", geometry_type="Unknown", SPATIAL_INDEX="NO")
    profiled = platform.profile(late)
    assert profiled.geometry_types == ("Point",)
    loaded = platform.load(profiled, chunk_size=500)
    assert [(each.dataset, each.rows) for each in loaded.datasets] == [
        ("late_points", 3000),
        ("late_polygons", 1),
    ]
    assert (loaded.read, loaded.inserted) == (3001, 3001)


@pytest.mark.parametrize("options", [{}, {"mixed_geometry": "refuse"}])
def test_other_formats_are_refused_and_the_remedy_splits_them(
    platform: Platform, write: Write, options: dict[str, Any]
) -> None:
    frame = geopandas.GeoDataFrame({"n": [0, 1]}, geometry=SHAPES[:2], crs=4326)
    profiled = platform.profile(write(frame, "overlay.gpkg", geometry_type="Unknown"))
    with pytest.raises(errors.GeometryMixed) as refused:
        platform.load(profiled, **options)
    assert "mixed_geometry=split" in refused.value.remedy
    assert platform.silver() == []
    loaded = platform.load(profiled, mixed_geometry="split")
    assert [each.dataset for each in loaded.datasets] == ["overlay_points", "overlay_polygons"]


def test_rows_are_appended_to_one_dataset_only(platform: Platform, drawn: Path) -> None:
    profiled = platform.profile(drawn)
    appended: dict[str, Any] = {"load_mode": "append", "key_columns": ["n"]}
    with pytest.raises(errors.GeometryMixed):
        platform.load(profiled, **appended)
    with pytest.raises(errors.ParameterInvalid, match="one dataset only"):
        platform.load(profiled, **appended, mixed_geometry="split")


def test_a_family_whose_rows_are_all_rejected_has_no_dataset(
    platform: Platform, tmp_path: Path
) -> None:
    path = tmp_path / "flat.geojson"
    flat = shapely.Polygon([(4, 50), (5, 50), (4, 50)])
    path.write_text(collection([flat, shapely.Point(4, 50)]))
    loaded = platform.load(platform.profile(path))
    assert [each.dataset for each in loaded.datasets] == ["flat_points"]
    assert (loaded.read, loaded.inserted, loaded.rejected) == (2, 1, 1)


def test_long_names_stay_apart() -> None:
    base = "a" * 63
    names = [name_of_family(base, family) for family in Family]
    assert {len(name) for name in names} == {63}
    versions = {version_name(name, "f" * 32, "0a1b2c3d") for name in names}
    assert len(versions) == len(Family)
    assert max(map(len, versions)) <= 58
    assert version_name("roads", "f" * 32, "0a1b2c3d") == "roads_ffffffff_0a1b2c3d"


def test_a_message_of_one_dataset_is_upgraded() -> None:
    published = Path(__file__).parents[1] / "catalog" / "published" / "vector_table.json"
    stored = json.loads(published.read_text(encoding="utf-8"))["message"]
    assert stored["schema_version"] == 2
    loaded = load_message(json.dumps(stored).encode(), FeaturesLoaded)
    (dataset,) = loaded.datasets
    assert (dataset.dataset, dataset.family) == (loaded.dataset, None)
    assert dataset.table is not None
    assert (dataset.table.uri, dataset.rows) == (
        stored["content"]["table"]["uri"],
        stored["content"]["inserted"],
    )
