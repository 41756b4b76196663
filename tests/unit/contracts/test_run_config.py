"""Run config checked at load: of jobs, of schedules, and as declared by sensors and schedules."""

from typing import Any

import dagster as dg
import pytest

from geo_platform.contracts.dagster_graph import config_metadata
from geo_platform.contracts.verify import definition_faults


class UploadConfig(dg.Config):
    container: str
    retries: int = 3


class UploadConfigSeen(dg.Config):
    container: str
    retries: str = "3"


class Renamed(dg.Config):
    bucket: str


@dg.asset
def uploaded(config: UploadConfig) -> str:
    return config.container


@dg.asset
def listed(uploaded: str) -> int:
    return len(uploaded)


def _job(config: Any = None) -> Any:
    return dg.define_asset_job("upload", selection=[uploaded, listed], config=config)


def _config(**values: Any) -> dict[str, Any]:
    return {"ops": {"uploaded": {"config": values}}}


def _lines(job: Any, **launchers: Any) -> list[str]:
    return [
        str(fault)
        for fault in definition_faults(
            dg.Definitions(assets=[uploaded, listed], jobs=[job], **launchers)
        )
    ]


@pytest.mark.parametrize(
    "config",
    [None, _config(container="a"), dg.RunConfig(ops={"uploaded": UploadConfig(container="a")})],
)
def test_run_config_that_fits_or_is_given_at_launch(config: Any) -> None:
    assert _lines(_job(config)) == []


def test_a_jobs_own_run_config_that_does_not_fit() -> None:
    (line,) = _lines(_job(_config(container=1)))
    assert line.startswith("its run config -> job upload: run config does not fit")
    assert 'Value "1" of type "<class \'int\'>" is not valid for expected type "String"' in line


def test_every_error_of_a_run_config_is_a_fault() -> None:
    lines = _lines(
        _job({"ops": {"uploaded": {"config": {"container": "a", "color": "red"}}, "nobody": {}}})
    )
    assert any(
        'undefined field "nobody"' in line or 'unexpected config entry "nobody"' in line
        for line in lines
    ), lines


def test_an_op_jobs_run_config() -> None:
    @dg.op
    def upload(config: UploadConfig) -> None: ...

    @dg.job(config={"ops": {"upload": {"config": {"container": "a", "retries": "often"}}}})
    def broken() -> None:
        upload()

    lines = [str(fault) for fault in definition_faults(dg.Definitions(jobs=[broken]))]
    assert len(lines) == 1
    assert "-> job broken: run config does not fit" in lines[0]


def test_a_broken_op_job_does_not_hide_the_others() -> None:
    @dg.op
    def upload(config: UploadConfig) -> None: ...

    @dg.job(config={"ops": {"upload": {"config": {"container": 1}}}})
    def broken() -> None:
        upload()

    jobs = [broken, _job(_config(container=2))]
    schedules = [
        dg.ScheduleDefinition(name=f"at_{job.name}", job=job, cron_schedule="@daily")
        for job in jobs
    ]
    lines = [
        str(fault)
        for fault in definition_faults(
            dg.Definitions(assets=[uploaded, listed], jobs=jobs, schedules=schedules)
        )
    ]
    assert [line.split(":")[0] for line in lines] == [
        "its run config -> job broken",
        "its run config -> job upload",
    ]


def test_a_job_that_dagster_cannot_resolve_is_a_fault_beside_the_others() -> None:
    missing = dg.define_asset_job("missing", selection=["nowhere"])
    broken = _job(_config(container=1))
    lines = [
        str(fault)
        for fault in definition_faults(
            dg.Definitions(assets=[uploaded, listed], jobs=[missing, broken])
        )
    ]
    assert [line.split(":")[0] for line in lines] == [
        "definitions -> job missing",
        "its run config -> job upload",
    ]
    assert "nowhere" in lines[0]


def test_a_schedules_run_config() -> None:
    job = _job()
    good = dg.ScheduleDefinition(
        name="good", job=job, cron_schedule="@daily", run_config=_config(container="a")
    )
    bad = dg.ScheduleDefinition(
        name="bad", job=job, cron_schedule="@daily", run_config=_config(bucket="a")
    )
    assert _lines(job, schedules=[good]) == []
    lines = _lines(job, schedules=[bad])
    assert {line.split(":")[0] for line in lines} == {"schedule bad -> job upload"}
    assert any("`ops.uploaded.config`" in line and "container" in line for line in lines), lines


def test_a_schedule_without_run_config_for_a_job_that_needs_it() -> None:
    job = _job()
    lines = _lines(
        job, schedules=[dg.ScheduleDefinition(name="bare", job=job, cron_schedule="@daily")]
    )
    assert {line.split(":")[0] for line in lines} == {"schedule bare -> job upload"}


def _sensor(job: Any, **models: Any) -> Any:
    @dg.sensor(job=job, metadata=config_metadata(**models))
    def uploads() -> Any:
        raise AssertionError("a sensor is not run to be verified")

    return uploads


def test_a_sensor_that_declares_the_jobs_own_model() -> None:
    job = _job()
    assert _lines(job, sensors=[_sensor(job, uploaded=UploadConfig)]) == []
    assert _lines(job, sensors=[_sensor(job)]) == []


def test_a_sensor_whose_model_does_not_match() -> None:
    job = _job()
    assert _lines(job, sensors=[_sensor(job, uploaded=UploadConfigSeen)]) == [
        "sensor uploads -> job upload, op uploaded: wrong type `retries`: producer gives "
        "str, consumer takes int"
    ]
    assert _lines(job, sensors=[_sensor(job, uploaded=Renamed)]) == [
        "sensor uploads -> job upload, op uploaded: missing field `container`: producer "
        "gives nothing, consumer takes str "
        "(renamed from `bucket`?)"
    ]


def test_a_sensor_that_declares_for_the_wrong_op_or_leaves_out_one_that_needs_config() -> None:
    job = _job()
    assert _lines(job, sensors=[_sensor(job, uplaoded=UploadConfig, listed=UploadConfig)]) == [
        "sensor uploads -> job upload, op uplaoded: config model does not fit: "
        "producer gives UploadConfig, consumer takes nothing (the job has no op `uplaoded`)",
        "sensor uploads -> job upload, op listed: config model does not fit: "
        "producer gives UploadConfig, consumer takes nothing (the op takes no config model)",
        "sensor uploads -> job upload, op uploaded: config model does not fit: "
        "producer gives nothing, consumer takes UploadConfig (the op has required fields)",
    ]


def test_a_decorated_schedule_is_not_run_and_declares_its_models_like_a_sensor() -> None:
    job = _job()

    @dg.schedule(
        job=job, cron_schedule="@daily", metadata=config_metadata(uploaded=UploadConfigSeen)
    )
    def nightly() -> Any:
        raise AssertionError("a schedule's function is not run to be verified")

    assert [line.split(":")[0] for line in _lines(job, schedules=[nightly])] == [
        "schedule nightly -> job upload, op uploaded"
    ]


def test_sensors_without_a_job_and_automation_are_left_alone() -> None:
    @dg.run_failure_sensor
    def tell() -> None: ...

    automation = dg.AutomationConditionSensorDefinition(
        "automation", target=dg.AssetSelection.all()
    )
    assert _lines(_job(), sensors=[tell, automation]) == []
