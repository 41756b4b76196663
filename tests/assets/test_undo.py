"""Jobs that undo: typed config, retries, and the metadata of their results."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from assets import undo
from geo_platform.contracts.verify import definition_faults
from geo_platform.definitions import defs
from geo_platform.errors import DatabaseUnavailable
from geo_platform.ports import ITEM_FINGERPRINT, ITEM_RUN_ID, ITEM_SOURCE
from geo_platform.settings import load_settings
from geo_platform.storage.local.stac_files import StacFiles

COLLECTION = {
    "type": "Collection",
    "stac_version": "1.1.0",
    "id": "rasters",
    "description": "d",
    "license": "other",
    "links": [],
}


def item(version: str) -> dict[str, Any]:
    named = {ITEM_RUN_ID: f"run of {version}", ITEM_FINGERPRINT: version, ITEM_SOURCE: "a.tif"}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "scene",
        "collection": "rasters",
        "geometry": {"type": "Point", "coordinates": [1, 2]},
        "bbox": [1, 2, 1, 2],
        "properties": {
            "datetime": "2020-01-01T00:00:00Z",
            "updated": f"2026-01-0{version[-1]}T00:00:00Z",
            **named,
        },
        "links": [],
        "assets": {"data": {"href": "file:///data.tif", "roles": ["data"]}},
    }


@pytest.fixture
def catalog() -> StacFiles:
    catalog = StacFiles(load_settings().catalog_dir)
    catalog.publish(COLLECTION, item("v1"), replaces=None)
    catalog.publish(COLLECTION, item("v2"), replaces="v1")
    return catalog


def run(job: str, op: str, **config: Any) -> tuple[dg.ExecuteInProcessResult, dict[str, Any]]:
    done = defs.resolve_job_def(job).execute_in_process(
        {"ops": {op: {"config": config}}}, raise_on_error=False
    )
    outputs = [
        event.step_output_data.metadata for event in done.all_events if event.is_successful_output
    ]
    return done, {name: value.value for output in outputs for name, value in output.items()}


def refusal(done: dg.ExecuteInProcessResult) -> Any:
    (failure,) = [
        event.step_failure_data.user_failure_data
        for event in done.all_events
        if event.is_step_failure
    ]
    assert failure is not None
    return failure.metadata["code"].value


def test_an_item_is_unpublished_and_restored_by_separate_runs(catalog: StacFiles) -> None:
    done, metadata = run("unpublish_item", "unpublish", collection="rasters", item_id="scene")
    assert (done.success, metadata["published_by_run"]) == (True, "run of v2")
    assert list(catalog.entries()) == []
    back, metadata = run(
        "rollback_item", "rollback", collection="rasters", item_id="scene", to_run="run of v1"
    )
    found = catalog.item("rasters", "scene")
    assert found is not None
    assert (metadata["published_by_run"], found["properties"]["geo_platform:restored_by_run"]) == (
        "run of v1",
        back.run_id,
    )


def test_missing_items_are_refused_without_a_retry(catalog: StacFiles) -> None:
    for job, op, config in (
        ("unpublish_item", "unpublish", {"collection": "rasters", "item_id": "nowhere"}),
        (
            "rollback_item",
            "rollback",
            {"collection": "rasters", "item_id": "scene", "to_run": "nobody"},
        ),
    ):
        done, _ = run(job, op, **config)
        assert (done.success, refusal(done)) == (False, "SOURCE_NOT_FOUND")
        assert not [event for event in done.all_events if event.is_step_up_for_retry]
    assert [entry.fingerprint for entry in catalog.entries()] == ["v2"]


def test_versions_kept_long_enough_are_removed(catalog: StacFiles) -> None:
    kept, metadata = run("remove_replaced", "remove")
    assert (kept.success, metadata["versions"]) == (True, [])
    _, metadata = run("remove_replaced", "remove", older_than_days=0)
    assert metadata["versions"] == ["rasters/scene of run run of v1"]
    assert [entry.fingerprint for entry in catalog.entries()] == ["v2"]


def test_a_transient_fault_is_retried() -> None:
    class UnavailableOnce(StacFiles):
        calls = 0

        def item(self, collection: str, item_id: str) -> dict[str, Any] | None:
            self.calls += 1
            if self.calls == 1:
                raise DatabaseUnavailable("unavailable")
            return super().item(collection, item_id)

    catalog = UnavailableOnce(load_settings().catalog_dir)
    catalog.publish(COLLECTION, item("v1"), replaces=None)

    @dg.job(resource_defs={"catalog": dg.ResourceDefinition.hardcoded_resource(catalog)})
    def unpublish_with_retry() -> None:
        undo.unpublish.with_retry_policy(dg.RetryPolicy(max_retries=1, delay=0.01))()

    assert undo.unpublish.retry_policy is not None
    config = {"ops": {"unpublish": {"config": {"collection": "rasters", "item_id": "scene"}}}}
    assert unpublish_with_retry.execute_in_process(config).success
    assert list(catalog.entries()) == []


def test_an_invalid_retention_time_is_refused_with_its_code() -> None:
    done, _ = run("remove_replaced", "remove", older_than_days=-1)
    assert refusal(done) == "PARAMETER_INVALID"


def test_the_schedule_is_on_and_its_config_is_valid() -> None:
    schedule = defs.resolve_schedule_def("remove_replaced_daily")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    tick = schedule.evaluate_tick(
        dg.build_schedule_context(scheduled_execution_time=datetime(2026, 1, 1, 3, 17, tzinfo=UTC))
    )
    (request,) = tick.run_requests or ()
    assert dg.validate_run_config(defs.resolve_job_def("remove_replaced"), request.run_config)
    assert definition_faults(defs) == []
