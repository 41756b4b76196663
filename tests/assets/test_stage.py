"""Errors of the core at the border to Dagster: which are retried, and what a run records."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets import stage as border
from assets.stage import STORE_RETRIES, StageConfig, stage
from geo_platform.errors import CrsMissing, PlatformError, StoreUnavailable, error_leaves
from geo_platform.options import ItemOptions
from geo_platform.raster.options import RasterCogOptions

FAST_RETRIES = dg.RetryPolicy(max_retries=STORE_RETRIES.max_retries, delay=0.01)


class CogConfig(StageConfig, RasterCogOptions):
    """Config as in assets/raster.py."""


def _run(
    raised: list[Exception], *, config: dict[str, Any] | None = None
) -> tuple[dg.ExecuteInProcessResult, int]:
    """Run a stage that raises the errors in turn and then succeeds; count its attempts."""
    left = list(raised)
    tries = []

    @dg.asset(retry_policy=FAST_RETRIES)
    def failing_asset(context: dg.AssetExecutionContext, config: CogConfig) -> None:
        tries.append(config)
        with stage(context):
            if left:
                raise left.pop(0)

    run_config = {"ops": {"failing_asset": {"config": config or {}}}}
    return dg.materialize([failing_asset], run_config=run_config, raise_on_error=False), len(tries)


def _failure(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = [event for event in result.all_events if event.is_step_failure]
    failure = event.step_failure_data.user_failure_data
    assert failure is not None
    return {key: value.value for key, value in failure.metadata.items()}


def test_a_store_error_is_retried_up_to_three_times() -> None:
    passing, tries = _run([StoreUnavailable("away")] * 3)
    assert (passing.success, tries) == (True, 4)
    failing, tries = _run([StoreUnavailable("away")] * 4)
    assert (failing.success, tries) == (False, 4)
    assert _failure(failing)["code"] == "STORE_UNAVAILABLE"


def test_bad_input_is_never_retried() -> None:
    result, tries = _run([CrsMissing("'a.tif' has no CRS.")] * 2)
    assert (result.success, tries) == (False, 1)
    assert _failure(result) == CrsMissing("'a.tif' has no CRS.").as_record()


def test_an_unexpected_exception_is_a_platform_fault_and_not_retried() -> None:
    result, tries = _run([KeyError("x")] * 2)
    assert (result.success, tries) == (False, 1)
    found = _failure(result)
    assert (found["code"], found["user_fixable"]) == ("UNEXPECTED_FAULT", False)
    assert "KeyError" in found["message"]


def test_an_invalid_parameter_is_refused_with_its_code_and_not_retried() -> None:
    result, tries = _run([], config={"jpeg_quality": 500})
    assert (result.success, tries) == (False, 0)
    found = _failure(result)
    assert (found["code"], found["user_fixable"]) == ("PARAMETER_INVALID", True)
    assert "jpeg_quality" in found["message"]


@pytest.mark.parametrize("leaf", error_leaves(), ids=lambda leaf: leaf.code)
def test_only_transient_errors_are_retried(leaf: type[PlatformError]) -> None:
    failure = border.as_failure(leaf("the object"))
    assert failure.allow_retries == leaf.retryable
    assert failure.metadata["code"].value == leaf.code


def test_a_config_has_the_fields_of_its_options() -> None:
    class ItemConfig(StageConfig, ItemOptions):
        """Config as in assets/raster.py."""

    config = ItemConfig(item_id="a", datetime_utc="2020-01-01T00:00:00Z")
    assert config.model_dump(mode="json") == ItemOptions(
        item_id="a", datetime_utc="2020-01-01T00:00:00Z"
    ).model_dump(mode="json")


def test_tests_have_a_home_of_their_own(tmp_path: Path) -> None:
    from geo_platform.settings import load_settings

    assert load_settings().home_dir == tmp_path / "home"
