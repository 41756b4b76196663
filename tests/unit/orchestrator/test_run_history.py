"""Events of real runs become events of the timeline by their fields, never by their sentences."""

import dagster as dg
import pytest

from geo_platform.dagster_internals import record_checkpoints_as_events
from geo_platform.errors import StoreUnavailable
from geo_platform.orchestrator.run_history import events_of
from geo_platform.orchestrator.run_reports import report_on_run
from geo_platform.telemetry.checkpoints import Checkpoint, report
from geo_platform.trace.timeline import Event, ordered, stages_of

LOGGED = {"python_logs": {"managed_python_loggers": ["geo_platform"], "python_log_level": "INFO"}}


def run(
    instance: dg.DagsterInstance,
    *assets: dg.AssetsDefinition,
    checks: tuple[dg.AssetChecksDefinition, ...] = (),
) -> str:
    record_checkpoints_as_events()
    job = dg.define_asset_job("job", executor_def=dg.in_process_executor)
    definitions = dg.Definitions(assets=assets, asset_checks=checks, jobs=[job])
    silent = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    return (
        definitions.resolve_job_def("job")
        .execute_in_process(instance=instance, run_config=silent, raise_on_error=False)
        .run_id
    )


def timeline_of(instance: dg.DagsterInstance, run_id: str) -> tuple[Event, ...]:
    return ordered(events_of(instance.all_logs(run_id)))


def test_attempts_have_the_errors_that_their_stage_reported_or_raised() -> None:
    tries: list[int] = []

    @dg.asset(retry_policy=dg.RetryPolicy(max_retries=3, delay=0.01))
    def shaky() -> None:
        tries.append(1)
        if len(tries) == 1:
            error = StoreUnavailable("The store did not answer.")
            report(Checkpoint.STAGE_FAILED, "in words", error=error.as_record())
            raise dg.Failure("in other words", allow_retries=True)
        fields = {
            "code": "CRS_MISSING",
            "message": "No CRS.",
            "remedy": "Say it.",
            "retryable": False,
            "user_fixable": True,
        }
        raise dg.Failure("CRS_MISSING: No CRS.", metadata=fields, allow_retries=False)

    with dg.DagsterInstance.ephemeral(settings=LOGGED) as instance:
        events = timeline_of(instance, run(instance, shaky))
    assert [(event.kind, event.attempt) for event in events if event.stage == "shaky"] == [
        ("STAGE_START", 1),
        ("STAGE_FAILED", 1),
        ("STAGE_RETRIED", 1),
        ("STAGE_START", 2),
        ("STAGE_FAILED", 2),
    ]
    retried, failed = events[3], events[5]
    assert retried.error == StoreUnavailable("The store did not answer.").as_record()
    assert failed.error is not None
    assert failed.error["remedy"] == "Say it."
    (stage,) = stages_of(events)
    assert (stage.status, stage.attempts, stage.error_code) == ("failed", 2, "CRS_MISSING")
    assert events[-1].kind == "RUN_ENDED"


def test_a_checkpoint_and_its_step_event_are_one_and_log_lines_are_omitted() -> None:
    @dg.asset
    def logging_asset(context: dg.AssetExecutionContext) -> None:
        report(Checkpoint.STAGE_START, "logging_asset starts")
        report(Checkpoint.COG_VERIFIED, "as its source\nin every pixel", tier="analysis")
        context.log.info("STAGE_DONE is only a sentence here")
        context.log.warning("mind the gap")

    @dg.asset_check(asset=logging_asset)
    def sound() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False)

    with dg.DagsterInstance.ephemeral(settings=LOGGED) as instance:
        run_id = run(instance, logging_asset, checks=(sound,))
        dagster_run = instance.get_run_by_id(run_id)
        assert dagster_run is not None
        instance.report_engine_event("STATE_MISMATCH is only a sentence here", dagster_run)
        for _ in range(2):
            report_on_run(
                instance,
                dagster_run,
                Checkpoint.STATE_MISMATCH,
                "one says this, the other that",
                details={"compared": "status"},
                identified_by=["compared"],
            )
        events = timeline_of(instance, run_id)
    assert [
        (event.kind, event.text)
        for event in events
        if event.kind not in ("RUN_STARTED", "RUN_ENDED", "STAGE_DONE")
    ] == [
        ("STAGE_START", "logging_asset starts"),
        ("COG_VERIFIED", "as its source\nin every pixel"),
        ("LOGGED", "mind the gap"),
        ("CHECK_EVALUATED", "sound of logging_asset failed"),
        ("STATE_MISMATCH", "one says this, the other that"),
    ]
    (stage,) = stages_of(events)
    assert stage.duration_ms
    assert stage.status == "done"


@pytest.mark.parametrize("fault", [ValueError("a bug"), RuntimeError("")])
def test_an_unexpected_exception_is_a_fault_of_the_platform(fault: Exception) -> None:
    @dg.asset
    def broken() -> None:
        raise fault

    with dg.DagsterInstance.ephemeral(settings=LOGGED) as instance:
        events = timeline_of(instance, run(instance, broken))
    failed = next(event for event in events if event.kind == "STAGE_FAILED")
    assert failed.error is not None
    assert (failed.error["code"], failed.error["user_fixable"]) == ("UNEXPECTED_FAULT", False)
