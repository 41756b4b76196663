"""A log record is one JSON object on one line, whatever a file is called."""

import json
import logging
import sys

from hypothesis import given
from hypothesis import strategies as st

from geo_platform.telemetry.logs import JsonLines, telemetry_context


def _line(message: str, *, exc_info: bool = False, **extra: object) -> str:
    record = logging.LogRecord(
        "geo_platform.x",
        logging.INFO,
        __file__,
        1,
        "%s",
        (message,),
        sys.exc_info() if exc_info else None,
    )
    record.__dict__.update(extra)
    return JsonLines().format(record)


@given(st.text())
def test_any_text_is_one_line_and_can_be_read_back(text: str) -> None:
    line = _line(text)
    assert "\n" not in line
    assert "\r" not in line
    assert json.loads(line)["message"] == text


def test_run_id_and_stage_are_on_every_line_inside_the_context() -> None:
    with telemetry_context(run_id="r1", stage="raster_cog", partition="a.tif"):
        inside = json.loads(_line("x", checkpoint="STAGE_START"))
    outside = json.loads(_line("x"))
    assert (inside["run_id"], inside["stage"], inside["partition"], inside["checkpoint"]) == (
        "r1",
        "raster_cog",
        "a.tif",
        "STAGE_START",
    )
    assert "run_id" not in outside


def test_a_record_of_dagster_has_its_run_and_step_as_fields_only() -> None:
    meta = {
        "run_id": "r2",
        "step_key": "raster_cog",
        "job_name": "process_raster",
        "orig_message": "plain",
    }
    line = json.loads(_line("process_raster - r2 - raster_cog - plain", dagster_meta=meta))
    assert (line["run_id"], line["stage"], line["message"]) == ("r2", "raster_cog", "plain")


def test_a_traceback_is_a_field_of_the_line() -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        line = _line("failed", exc_info=True)
    assert "\n" not in line
    assert "ValueError: first\nsecond" in json.loads(line)["error"]["traceback"]
