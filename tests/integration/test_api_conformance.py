"""The OpenAPI document is what is served: schemathesis asks every route for what the document allows and for what it does not.

What belongs here: that run, against the whole stack. Bytes of uploads have their own tests; a stream of events does not end by itself.
Every check and every phase of it is on but one, which OFF names.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from geo_platform.api.auth import limits
from tests.support.api_stack import api_stack
from tests.support.command import SAMPLES
from tests.support.own_dagster import DAEMON

# A request that the document allows may still be refused: which objects there are, and which
# parameters a source bears, no schema says.
OFF = "positive_data_acceptance"

pytestmark = pytest.mark.slow


def test_no_request_that_schemathesis_can_think_of_is_answered_otherwise_than_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        limits, "FAILURES_PER_MINUTE", 1_000_000
    )  # whether a credential is asked for is tried, too, again and again
    with api_stack(tmp_path) as stack:
        stack.put("dem.tif", SAMPLES / "sierra_nevada_srtm.tif")
        stack.put("wells.csv", b"lat,lon\n47,8\n")
        stack.wait(lambda: stack.ask("GET", "/readyz", "").status_code == 200)
        stack.dagster.kill(DAEMON)  # what is submitted is queued, and none of it has to run
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{stack.address}/openapi.json",
        ]
        command += [
            "-H",
            f"X-Api-Key: {stack.keys['operator']}",
            "--checks",
            "all",
            "--exclude-checks",
            OFF,
            "--seed",
            "1",
        ]
        command += [
            "--exclude-path-regex",
            "{upload_id}|events$",
            "--max-examples",
            "25",
            "--request-timeout",
            "60",
            "--no-color",
        ]
        command += [
            "--phases",
            "examples,coverage,fuzzing,stateful",
            "--workers",
            "2",
            "--generation-with-security-parameters",
            "false",
        ]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=570, check=False
        )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    assert "Tested: 14" in done.stdout, done.stdout
