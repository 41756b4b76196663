"""Decisions of the PostGIS store that need no database: names, indexes, order, second pass."""

import numpy as np
import pyarrow as pa
import pytest
from pyproj import CRS

from geo_platform.crs import reference
from geo_platform.errors import ParameterInvalid
from geo_platform.ports import FeatureTarget, IndexRequest
from geo_platform.storage.postgres.postgis_finish import plan_table_indexes, statistics_targets
from geo_platform.storage.postgres.postgis_order import (
    RunBoxes,
    should_rewrite_in_order,
    sort_in_runs,
    spatial_order,
)
from geo_platform.storage.postgres.postgis_plan import (
    NAME_MAX_BYTES,
    TablePlan,
    plan_table,
    version_name,
)
from geo_platform.storage.postgres.postgis_srid import crs_definition

GEOMETRY = pa.field("geometry", pa.binary(), nullable=False)


def plan(indexes: IndexRequest = IndexRequest(), *names: str) -> TablePlan:  # noqa: B008  # frozen
    schema = pa.schema([*(pa.field(name, pa.int64()) for name in names), GEOMETRY])
    return plan_table(
        FeatureTarget(
            dataset="d" * 63,
            schema=schema,
            geometry_column="geometry",
            crs=reference(CRS.from_epsg(4326), "file"),
            geometry_type="MultiPolygon",
            fingerprint="f" * 32,
            key_prefix="",
            metadata={"run_id": "0A1B2C3D-4e5f", "source_uri": "file:///x"},
            indexes=indexes,
        )
    )


def walk(positions: np.ndarray) -> float:
    return float(np.abs(np.diff(positions, axis=0)).sum())


def test_the_name_of_a_version_leaves_room_for_names_of_indexes() -> None:
    assert version_name("roads", "0123456789abcdef", "0A1B2C3D-4e5f") == "roads_01234567_0a1b2c3d"
    assert version_name("roads", "0123456789abcdef", "--") == "roads_01234567_0"
    names = [f"column_{number}" for number in range(1500)]
    made = plan_table_indexes(plan(IndexRequest(True, tuple(names)), *names), ())
    assert max(len(index.name) for index in made) <= NAME_MAX_BYTES
    assert len({index.name for index in made}) == 1502


def test_a_column_is_indexed_once_however_often_it_is_requested() -> None:
    made = plan_table_indexes(plan(IndexRequest(True, ("a", "b"), ("b",)), "a", "b"), ("a",))
    assert [(index.statement, index.column) for index in made] == [
        ("postgis_index_spatial", "geometry"),
        ("postgis_index_id", "fid"),
        ("postgis_index_jsonb", "a"),
        ("postgis_index_values", "b"),
    ]


def test_statistics_are_finer_where_a_large_table_is_searched() -> None:
    wanted = plan(IndexRequest(True, ("a",)), "a", "b")
    assert statistics_targets(wanted, 999_999) == {}
    assert statistics_targets(wanted, 1_000_000) == {"a": 500, "geometry": 500}


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e307])
def test_scattered_rows_are_sorted_and_ordered_ones_keep_their_order(scale: float) -> None:
    scattered = np.random.default_rng(1).uniform(-1, 1, (5000, 2)) * scale
    order = spatial_order(scattered)
    assert order is not None
    assert sorted(order) == list(range(5000))
    assert walk(scattered[order] / scale) < walk(scattered / scale) / 20
    assert spatial_order(scattered[order]) is None


def test_rows_at_one_point_or_on_one_line_are_sorted_too() -> None:
    assert spatial_order(np.zeros((100, 2))) is None
    line = np.column_stack([np.random.default_rng(2).permutation(1000), np.zeros(1000)]).astype(
        float
    )
    order = spatial_order(line)
    assert order is not None
    assert walk(line[order]) < walk(line) / 20


def test_a_second_pass_is_planned_where_many_runs_overlap() -> None:
    everywhere, side_by_side = RunBoxes(), RunBoxes()
    for number in range(200):
        everywhere.add(np.array([[0.0, 0.0], [1.0, 1.0]]))
        side_by_side.add(np.array([[number, 0.0], [number + 1.0, 1.0]]))
    assert should_rewrite_in_order(everywhere)
    assert not should_rewrite_in_order(side_by_side)
    assert not should_rewrite_in_order(RunBoxes())


def test_no_batches_are_no_runs() -> None:
    runs = RunBoxes()
    assert list(sort_in_runs(iter(()), "geometry", runs)) == []
    assert runs.boxes == []


def test_a_crs_is_described_in_a_form_that_every_client_reads_or_refused() -> None:
    own = CRS.from_proj4("+proj=laea +lat_0=1 +lon_0=2 +datum=WGS84")
    assert crs_definition(reference(own, "file")).startswith("PROJCS[")
    endless = own.to_json_dict()
    endless["name"] = "n" * 3000
    with pytest.raises(ParameterInvalid, match="is longer than"):
        crs_definition(reference(CRS.from_json_dict(endless), "file"))
