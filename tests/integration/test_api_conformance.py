"""The OpenAPI document is what is served: schemathesis asks every route for what the document allows and for what it does not.

What belongs here: that run, against the whole stack. Routes of uploads have their own tests; a stream of events does not end by itself.
A request that the document allows may still be refused: which parameters a source bears is found out by looking at it.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.api_stack import api_stack
from tests.support.command import SAMPLES
from tests.support.own_dagster import DAEMON

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance"

pytestmark = pytest.mark.slow


def test_no_request_that_schemathesis_can_think_of_is_answered_otherwise_than_described(tmp_path: Path) -> None:
    with api_stack(tmp_path) as stack:
        stack.put("dem.tif", SAMPLES / "sierra_nevada_srtm.tif")
        stack.wait(lambda: stack.ask("GET", "/readyz", "").status_code == 200)
        stack.dagster.kill(DAEMON)  # what is submitted is queued, and none of it has to run
        command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{stack.address}/openapi.json"]
        command += ["-H", f"X-Api-Key: {stack.keys['operator']}", "--checks", f"{CHECKS},negative_data_rejection", "--seed", "1"]
        command += ["--exclude-path-regex", "uploads|events$", "--max-examples", "25", "--request-timeout", "60", "--no-color"]
        command += ["--phases", "examples,fuzzing", "--workers", "2"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=570, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    assert "Tested: 11" in done.stdout
