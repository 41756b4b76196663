"""Test the served API against its OpenAPI document: schemathesis sends every route valid and
invalid requests.

It runs against the whole stack, with all checks and phases except those in OFF. Uploaded bytes have
their own tests; a stream of events does not end by itself.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from geo_platform.api.auth import limits
from tests.support.api_stack import api_stack
from tests.support.command import SAMPLES
from tests.support.own_dagster import DAEMON

# A valid request may still be refused: no schema says which objects exist, and which parameters a
# source accepts.
OFF = "positive_data_acceptance"
NOT_TESTED = "{upload_id}|events$"

pytestmark = pytest.mark.slow


def test_every_response_conforms_to_the_openapi_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        limits, "FAILURES_PER_MINUTE", 1_000_000
    )  # it also tests missing credentials, many times
    with api_stack(tmp_path) as stack:
        stack.put("dem.tif", SAMPLES / "sierra_nevada_srtm.tif")
        stack.put("wells.csv", b"lat,lon\n47,8\n")
        stack.wait(lambda: stack.ask("GET", "/readyz", "").status_code == 200)
        stack.dagster.kill(DAEMON)  # jobs stay queued; none has to run
        paths = stack.ask("GET", "/openapi.json").json()["paths"]
        tested = sum(len(paths[path]) for path in paths if not re.search(NOT_TESTED, path))
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
            NOT_TESTED,
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
    assert tested > 30
    assert f"Tested: {tested}" in done.stdout, done.stdout
