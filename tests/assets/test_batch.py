"""Several files in one run: each has its own events and item, and a refusal fails only one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely

from assets import files
from assets.batch import published_partitions
from assets.checks import ASSET_CHECKS
from assets.partitions import RASTER_OBJECTS, VECTOR_OBJECTS
from geo_platform.chains.registry import CHAINS
from geo_platform.definitions import defs
from geo_platform.errors import StoreUnavailable
from geo_platform.orchestrator.shared_runs import retry_request, unpublished_files
from geo_platform.ports import BRONZE, MESSAGES
from geo_platform.settings import load_settings
from geo_platform.source.arrival import FoundSource, find_source
from geo_platform.storage.stores import open_catalog, open_objects

JOB = defs.resolve_job_def("ingest_files")
VECTOR_STAGES = ["raw_vector", "vector_profile", "vector_features", "vector_item"]
RASTER_STAGES = ["raw_raster", "raster_profile", "raster_cog", "raster_item"]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as own:
        yield own


@pytest.fixture
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses between retries."""
    monkeypatch.setattr(files, "STORE_RETRIES", dg.RetryPolicy(max_retries=3, delay=0.001))


def put(key: str, content: bytes) -> str:
    """Store an object and return its etag."""
    return open_objects(load_settings()).put_bytes(BRONZE, key, content, metadata={}).reference.etag


def points(name: str = "a") -> bytes:
    feature = {
        "type": "Feature",
        "properties": {"name": name},
        "geometry": {"type": "Point", "coordinates": [1.0, 2.0]},
    }
    return json.dumps({"type": "FeatureCollection", "features": [feature]}).encode()


def elevations(path: Path) -> bytes:
    pixels = np.linspace(1, 900, 64 * 64, dtype="float32").reshape(1, 64, 64)
    shape = {
        "width": 64,
        "height": 64,
        "count": 1,
        "dtype": "float32",
        "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6),
    }
    with rasterio.open(path, "w", driver="GTiff", crs="EPSG:32633", **shape) as written:
        written.write(pixels)
    return path.read_bytes()


def run(instance: dg.DagsterInstance, *keys: str, **config: Any) -> dg.ExecuteInProcessResult:
    asked = {"files": [{"key": key, "etag": config.pop("etag", "")} for key in keys], **config}
    run_config = {
        "ops": {"files": {"config": asked}},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }
    return JOB.execute_in_process(run_config, instance=instance, raise_on_error=False)


def failure(done: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = [event for event in done.all_events if event.is_step_failure]
    found = event.step_failure_data.user_failure_data
    assert found is not None
    return {
        key: value.records if isinstance(value, dg.TableMetadataValue) else value.value
        for key, value in found.metadata.items()
    }


def materialized(instance: dg.DagsterInstance, run_id: str) -> dict[str, list[str]]:
    """Return for each partition the assets that the run materialized, in order."""
    found: dict[str, list[str]] = {}
    for record in instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION, ascending=True
    ).records:
        one = record.asset_materialization
        assert one is not None
        found.setdefault(str(one.partition), []).append(one.asset_key.to_user_string())
    return found


def test_each_file_has_the_events_messages_and_item_of_a_separate_run(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    put("a.geojson", points())
    put("in/dem.tif", elevations(tmp_path / "dem.tif"))
    done = run(instance, "a.geojson", "in/dem.tif")
    assert done.success, failure(done)
    assert materialized(instance, done.run_id) == {
        "a.geojson": VECTOR_STAGES,
        "in/dem.tif": RASTER_STAGES,
    }
    assert instance.get_dynamic_partitions(VECTOR_OBJECTS.name or "") == ["a.geojson"]
    assert instance.get_dynamic_partitions(RASTER_OBJECTS.name or "") == ["in/dem.tif"]
    checks = instance.get_records_for_run(
        done.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ).records
    evaluated = [
        record.event_log_entry.dagster_event.asset_check_evaluation_data for record in checks
    ]
    assert {one.partition for one in evaluated if one.check_name == "rows_accounted"} == {
        "a.geojson"
    }
    assert len(evaluated) == 3 + 5
    assert all(one.passed for one in evaluated)
    stored = [stored.reference.key for stored in open_objects(load_settings()).list(MESSAGES)]
    wanted = [(stage, "a.geojson") for stage in VECTOR_STAGES] + [
        (stage, "in/dem.tif") for stage in RASTER_STAGES
    ]
    assert sorted(stored) == sorted(f"{stage}/{key}/{done.run_id}.json" for stage, key in wanted)
    items = [(entry.collection, entry.run_id) for entry in open_catalog(load_settings()).entries()]
    assert sorted(items) == [("rasters", done.run_id), ("vectors", done.run_id)]


def test_all_layers_and_mixed_layers_are_taken_as_in_a_separate_run(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    frame = geopandas.GeoDataFrame({"n": [1]}, geometry=[shapely.Point(4, 50)], crs=4326)
    for number, layer in enumerate(("trees", "signs")):
        pyogrio.write_dataframe(frame, tmp_path / "town.gpkg", layer=layer, append=bool(number))
    put("town.gpkg", (tmp_path / "town.gpkg").read_bytes())
    mixed = json.loads(points())
    line = {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}
    mixed["features"].append({**mixed["features"][0], "geometry": line})
    put("drawn.geojson", json.dumps(mixed).encode())
    done = run(instance, "town.gpkg", "drawn.geojson", parameters={"layer_name": "*"})
    assert done.success, failure(done)
    items = {entry.item_id: entry.item for entry in open_catalog(load_settings()).entries()}
    assert set(items) == {"town-trees", "town-signs", "drawn"}
    assert {"data_points", "data_lines"} <= set(items["drawn"]["assets"])
    again = run(instance, "town.gpkg", "drawn.geojson", parameters={"layer_name": "*"})
    (counts,) = [
        event.step_output_data.metadata for event in again.all_events if event.is_successful_output
    ]
    assert (counts["published"].value, counts["unchanged"].value) == (0, 2)


def test_the_events_equal_those_of_a_separate_run(instance: dg.DagsterInstance) -> None:
    """Metadata and data versions are equal; only the inputs that Dagster records differ."""
    put("a.geojson", points())
    shared = run(instance, "a.geojson")
    alone = defs.resolve_job_def("ingest_vector").execute_in_process(
        instance=instance, partition_key="a.geojson"
    )
    versions = {}
    for done in (shared, alone):
        records = instance.get_records_for_run(
            done.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
        ).records
        events = [record.asset_materialization for record in records]
        tags = ("dagster/data_version", "dagster/data_version_is_user_provided")
        versions[done.run_id] = [
            (one.asset_key, one.partition, sorted(one.metadata), [one.tags[tag] for tag in tags])
            for one in events
            if one is not None
        ]
    assert versions[shared.run_id] == versions[alone.run_id]


def test_the_chains_list_every_asset_check() -> None:
    specs = [spec for check in ASSET_CHECKS for spec in check.check_specs]
    shared = {
        (stage.name, check.name)
        for chain in CHAINS
        for stage in chain.stages
        for check in stage.checks
    }
    assert {(spec.asset_key.to_user_string(), spec.name) for spec in specs} == shared


def test_a_refused_and_a_missing_file_do_not_fail_the_others(
    instance: dg.DagsterInstance,
) -> None:
    for key, content in {
        "a.geojson": points(),
        "letter.tif": b"dear sir",
        "b.geojson": points("b"),
    }.items():
        put(key, content)
    done = run(instance, "letter.tif", "a.geojson", "gone.geojson", "b.geojson")
    assert not done.success
    found = failure(done)
    assert (found["code"], found["retryable"], found["user_fixable"]) == (
        "FILES_REFUSED",
        False,
        True,
    )
    assert (
        found["files"],
        found["published"],
        found["refused"],
        found["failed"],
        found["not_reached"],
    ) == (4, 2, 2, 0, 0)
    refused = {record.data["key"]: record.data["code"] for record in found["not_published"]}
    assert refused == {"letter.tif": "UNSUPPORTED_FORMAT", "gone.geojson": "SOURCE_NOT_FOUND"}
    assert published_partitions(instance, done.run_id) == {"a.geojson", "b.geojson"}
    dagster_run = instance.get_run_by_id(done.run_id)
    assert dagster_run is not None
    assert unpublished_files(instance, dagster_run) == ["letter.tif", "gone.geojson"]
    assert len(list(open_catalog(load_settings()).entries())) == 2


def test_a_retry_takes_only_the_refused_files(instance: dg.DagsterInstance) -> None:
    put("a.geojson", points())
    put("b.geojson", b"{")
    first = run(instance, "a.geojson", "b.geojson", parameters={"collection_id": "parcels"})
    put("b.geojson", points("b"))
    left = retry_request(instance, first.run_id)
    assert left is not None
    assert left.files == ("b.geojson",)
    assert left.request is not None
    again = JOB.execute_in_process(
        {
            "ops": {
                stage: {"config": dict(options)}
                for stage, options in left.request.stage_options.items()
            }
        },
        instance=instance,
        tags=dict(left.request.tags),
    )
    assert materialized(instance, again.run_id) == {"b.geojson": VECTOR_STAGES}
    assert {entry.collection for entry in open_catalog(load_settings()).entries()} == {"parcels"}
    assert retry_request(instance, again.run_id) is not None
    assert retry_request(instance, again.run_id).files == ()  # type: ignore[union-attr]


def test_a_file_replaced_after_the_request_is_used_and_reported(
    instance: dg.DagsterInstance,
) -> None:
    asked = put("a.geojson", points())
    put("a.geojson", points("newer"))
    done = run(instance, "a.geojson", etag=asked)
    assert done.success
    (output,) = [event for event in done.all_events if event.is_successful_output]
    metadata = {key: value.value for key, value in output.step_output_data.metadata.items()}
    assert (metadata["published"], metadata["taken_newer_than_asked"]) == (1, ["a.geojson"])


def test_invalid_parameters_are_refused_before_any_file_is_opened(
    instance: dg.DagsterInstance,
) -> None:
    put("a.geojson", points())
    found = failure(
        run(instance, "a.geojson", parameters={"target_crs": "EPSG:4326", "jpeg_quality": 500})
    )
    assert (found["code"], found["not_reached"]) == ("PARAMETER_INVALID", 1)
    assert "jpeg_quality" in found["message"]


@pytest.mark.usefixtures("_no_pauses")
def test_a_transient_fault_is_retried_for_its_file(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = {"a.geojson": 3}

    def unavailable_at_first(
        objects: Any, container: str, key: str, *rest: Any, **named: Any
    ) -> FoundSource:
        if faults.get(key, 0) > 0:
            faults[key] -= 1
            raise StoreUnavailable("unavailable")
        return find_source(objects, container, key, *rest, **named)

    monkeypatch.setattr(files, "find_source", unavailable_at_first)
    for key in ("a.geojson", "b.geojson"):
        put(key, points(key))
    done = run(instance, "a.geojson", "b.geojson")
    assert done.success
    assert faults == {"a.geojson": 0}


@pytest.mark.usefixtures("_no_pauses")
def test_a_file_with_a_permanent_store_error_does_not_stop_the_others(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable_for_one(
        objects: Any, container: str, key: str, *rest: Any, **named: Any
    ) -> FoundSource:
        if key == "b.geojson":
            raise StoreUnavailable("somebody reads its table")
        return find_source(objects, container, key, *rest, **named)

    monkeypatch.setattr(files, "find_source", unavailable_for_one)
    keys = ["a.geojson", "b.geojson", "c.geojson"]
    for key in keys:
        put(key, points(key))
    done = job_with_one_retry().execute_in_process(
        config_of(keys), instance=instance, raise_on_error=False
    )
    found = failure(done)
    assert (found["code"], found["published"], found["failed"], found["not_reached"]) == (
        "STORE_UNAVAILABLE",
        2,
        1,
        0,
    )
    assert materialized(instance, done.run_id) == {
        "a.geojson": VECTOR_STAGES,
        "c.geojson": VECTOR_STAGES,
    }, "each is published once over two attempts"


def config_of(keys: list[str]) -> dict[str, Any]:
    return {"ops": {"files": {"config": {"files": [{"key": key} for key in keys]}}}}


def job_with_one_retry() -> dg.JobDefinition:
    """Return the job with one retry of its step, without a pause."""
    op = JOB.nodes[0].definition
    assert isinstance(op, dg.OpDefinition)
    assert op.retry_policy is not None

    @dg.job(resource_defs=dict(JOB.resource_defs))
    def ingest_files_with_one_retry() -> None:
        op.with_retry_policy(dg.RetryPolicy(max_retries=1, delay=0.001)).alias("files")()

    return ingest_files_with_one_retry


@pytest.mark.usefixtures("_no_pauses")
def test_an_unavailable_store_is_not_called_for_every_file(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def unavailable(objects: Any, container: str, key: str, *_: Any, **__: Any) -> FoundSource:
        asked.append(key)
        raise StoreUnavailable("unavailable")

    monkeypatch.setattr(files, "find_source", unavailable)
    keys = [f"{number}.geojson" for number in range(50)]
    done = job_with_one_retry().execute_in_process(
        config_of(keys), instance=instance, raise_on_error=False
    )
    assert failure(done)["not_reached"] == 47
    assert sum(event.is_step_up_for_retry for event in done.all_events) == 1
    assert set(asked) == {"0.geojson", "1.geojson", "2.geojson"}
    assert len(asked) == 2 * 3 * 4, (
        "two attempts of the step, each with three files, each tried four times"
    )


def test_a_killed_run_is_repeated_without_writing_anything_twice(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kill is between the write of an item and its event, where most is left behind."""
    for key in ("a.geojson", "b.geojson"):
        put(key, points(key))

    def killed(_: Any, outcome: files.FileOutcome) -> None:
        raise KeyboardInterrupt(outcome.key)

    with monkeypatch.context() as patched:
        patched.setattr("assets.batch._log_events", killed)
        killed_run = run(instance, "a.geojson", "b.geojson")
    assert materialized(instance, killed_run.run_id) == {}
    before = {
        entry.item_id: (entry.run_id, entry.updated_at_utc)
        for entry in open_catalog(load_settings()).entries()
    }
    assert before
    again = run(instance, "a.geojson", "b.geojson")
    assert again.success
    assert materialized(instance, again.run_id) == {
        "a.geojson": VECTOR_STAGES,
        "b.geojson": VECTOR_STAGES,
    }
    after = {
        entry.item_id: (entry.run_id, entry.updated_at_utc)
        for entry in open_catalog(load_settings()).entries()
    }
    assert len(after) == 2
    assert {name: after[name] for name in before} == before
    assert list(open_catalog(load_settings()).versions()) == []
