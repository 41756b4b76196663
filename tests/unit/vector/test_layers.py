"""All layers of a file in one request."""

from pathlib import Path
from typing import Any

import geopandas
import pyogrio
import pytest
import shapely

from geo_platform import errors
from geo_platform.catalog.naming import item_place
from geo_platform.chains import vector
from geo_platform.contracts.vector import FeaturesLoaded, VectorProfiled
from geo_platform.options import ItemOptions
from geo_platform.storage.local.geoparquet import GeoParquetLake
from geo_platform.vector.field_names import layer_suffixes
from geo_platform.vector.layers import every_load, load_layers, profile_layers
from geo_platform.vector.options import VectorFeaturesOptions, VectorProfileOptions
from tests.unit.vector.harness import Platform, Write


def profile(platform: Platform, path: Path) -> VectorProfiled:
    return profile_layers(
        platform.receive(path),
        VectorProfileOptions(layer_name="*"),
        platform.objects,
        recipe=vector.PROFILE.recipe,
        scratch=platform.scratch,
    )


def load(platform: Platform, profiled: VectorProfiled, **options: Any) -> FeaturesLoaded:
    (platform.scratch / "run").mkdir(exist_ok=True)
    return load_layers(
        profiled,
        VectorFeaturesOptions(**options),
        platform.objects,
        GeoParquetLake(platform.objects),
        recipe=vector.FEATURES.recipe,
        run_id="run-1",
        scratch=platform.scratch / "run",
    )


@pytest.fixture
def town(tmp_path: Path) -> Path:
    path = tmp_path / "town.gpkg"
    points = geopandas.GeoDataFrame({"n": [1, 2]}, geometry=[shapely.Point(4, 50)] * 2, crs=4326)
    areas = geopandas.GeoDataFrame({"area": [3]}, geometry=[shapely.box(4, 50, 5, 51)], crs=4326)
    pyogrio.write_dataframe(points, path, layer="trees")
    pyogrio.write_dataframe(areas, path, layer="Parks", append=True)
    pyogrio.write_dataframe(points.iloc[:0], path, layer="later", append=True)
    pyogrio.write_dataframe(points.drop(columns="geometry"), path, layer="codes", append=True)
    return path


def test_each_layer_has_an_account_and_a_name_of_its_own(platform: Platform, town: Path) -> None:
    profiled = profile(platform, town)
    loaded = load(platform, profiled)
    facts = [
        (each.layer, each.dataset, each.read, each.inserted, each.fields[-1].published)
        for each in every_load(loaded)
    ]
    assert facts == [("trees", "town_trees", 2, 2, "n"), ("Parks", "town_parks", 1, 1, "area")]
    assert len({each.fingerprint for each in every_load(loaded)}) == 2
    for each in every_load(loaded):
        (left_out,) = each.warnings
        assert left_out.code == "LAYERS_LEFT_OUT"
        assert left_out.message == (
            "Left out: 'codes' (a table without geometry), 'later' (no rows)."
        )


def test_a_layer_taken_alone_has_the_same_names_unless_they_are_given(
    platform: Platform, town: Path
) -> None:
    loaded = load(platform, profile(platform, town))
    alone = platform.profile(town, layer_name="trees")
    assert (alone.layer_suffix, alone.is_one_of_all) == ("trees", False)
    assert platform.load(alone).dataset == loaded.dataset == "town_trees"
    assert platform.load(alone, table_name="trees").dataset == "trees"
    places = [
        item_place(
            each.source,
            ItemOptions(item_id=item_id),
            layer_suffix=each.layer_suffix,
            is_one_of_all=each.is_one_of_all,
        )[1]
        for each in (loaded, alone)
        for item_id in (None, "given")
    ]
    assert places == ["town-trees", "given-trees", "town-trees", "given"]


def test_the_given_table_name_is_the_first_part(platform: Platform, town: Path) -> None:
    loaded = load(platform, profile(platform, town), table_name="x" * 60)
    names = [each.dataset for each in every_load(loaded)]
    assert len(set(names)) == 2
    assert all(len(name) == 63 and name.startswith("x" * 56) for name in names)


def test_a_file_of_one_layer_is_as_without_the_option(platform: Platform, write: Write) -> None:
    one = geopandas.GeoDataFrame({"n": [1]}, geometry=[shapely.Point(4, 50)], crs=4326)
    path = write(one, "one.gpkg")
    profiled = profile(platform, path)
    assert (profiled.layer_suffix, profiled.other_layers, profiled.warnings) == (None, (), ())
    assert load(platform, profiled).dataset == "one"
    csv = path.with_suffix(".csv")
    csv.write_text("lon,lat\n4,50\n")
    assert profile(platform, csv).other_layers == ()


def test_a_refused_layer_is_named_and_nothing_is_written(
    platform: Platform, town: Path, write: Write
) -> None:
    profiled = profile(platform, town)
    with pytest.raises(errors.ParameterInvalid, match=r"Layer 'Parks': .*not published: n") as told:
        load(platform, profiled, indexes_attributes=["n"])
    assert told.value.code == "PARAMETER_INVALID"
    assert platform.silver() == []
    nowhere = geopandas.GeoDataFrame({"n": [1]}, geometry=[shapely.Point(4, 50)])
    write(nowhere, town.name, layer="nowhere", append=True)
    with pytest.raises(errors.CrsMissing, match="'nowhere'"):
        profile(platform, town)


def test_names_of_layers_are_distinct() -> None:
    assert layer_suffixes(["Roads", "roads", "ROADS", "公園", "select", "2020", "a" * 70]) == [
        "roads",
        "roads_2",
        "roads_3",
        "layer_4",
        "select",
        "2020",
        "a" * 61,
    ]
