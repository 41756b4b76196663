"""Ctrl-C or SIGTERM during a run ends the command with a message; the run is marked and nothing
partial is published.

A server that gets the signal ends with success and without a message. Only the interrupted command
has its own process; the commands that look afterwards run in the test's.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from deploy.local.processes import answers, free_port
from tests.support.command import SAMPLES, start
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here

pytestmark = DAGSTER_S_WARNINGS


GEO_PLATFORM = str(Path(sys.executable).with_name("geo-platform"))
# What a shell without job control does to a command that a script starts with `&`.
IN_THE_BACKGROUND = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]


def _interrupt_in(
    stage: str,
    sources: list[Path],
    home: Path,
    *,
    by: signal.Signals,
    started_by: Sequence[str] = (),
) -> tuple[int, str]:
    command = [GEO_PLATFORM, "ingest", "--json", "--force", *map(str, sources)]
    process = start([*started_by, *command], home, subprocess.PIPE)
    log, deadline = home / "logs" / "platform.jsonl", time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if log.exists() and any(
            f'"{stage}"' in line and '"STAGE_START"' in line
            for line in log.read_text().splitlines()
        ):
            break
        time.sleep(0.005)
    os.kill(process.pid, by)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output.decode()


@pytest.mark.parametrize(
    ("stage", "by", "started_by"),
    [
        ("raw_raster", signal.SIGINT, []),
        ("raster_cog", signal.SIGINT, []),
        ("raw_raster", signal.SIGTERM, []),
        ("raster_cog", signal.SIGTERM, IN_THE_BACKGROUND),
    ],
)
def test_the_command_ends_and_the_next_one_completes(
    stage: str, by: signal.Signals, started_by: list[str], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    sources = [tmp_path / "one.tif", tmp_path / "two.tif"]
    for source in sources:
        shutil.copyfile(SAMPLES / "san_francisco_landsat7.tif", source)
    code, output = _interrupt_in(stage, sources, home, by=by, started_by=started_by)
    assert code == 130, output
    assert (
        output.strip()
        == "Interrupted. No partial result is published; run the same command again to continue."
    )
    assert geo_platform_here("list", "--json", home=home, extra={}).stdout.strip() == "[]"
    run_id = json.loads((home / "logs" / "platform.jsonl").read_text().splitlines()[0])["run_id"]
    status = json.loads(geo_platform_here("status", run_id, "--json", home=home, extra={}).stdout)
    assert status["status"] == "failure"
    assert "interrupted" in status["error"]["message"]
    assert not list((home / "scratch").iterdir()) if (home / "scratch").exists() else True
    again = geo_platform_here("ingest", "--json", *sources, home=home, extra={})
    assert [line["outcome"] for line in again.lines] == ["published", "published"]


def test_in_a_scripts_background_ctrl_c_is_ignored_and_no_child_outlives_the_command(
    tmp_path: Path,
) -> None:
    """A child of Dagster that outlived the run would keep the pipe open that the script reads."""
    source, home = tmp_path / "one.tif", tmp_path / "home"
    shutil.copyfile(SAMPLES / "san_francisco_landsat7.tif", source)
    code, output = _interrupt_in(
        "raster_cog", [source], home, by=signal.SIGINT, started_by=IN_THE_BACKGROUND
    )
    assert (code, json.loads(output)["outcome"]) == (0, "published")


@pytest.mark.parametrize(
    ("by", "started_by"),
    [(signal.SIGINT, []), (signal.SIGTERM, []), (signal.SIGTERM, IN_THE_BACKGROUND)],
)
def test_a_server_ends_with_success_on_a_signal(
    by: signal.Signals, started_by: list[str], tmp_path: Path
) -> None:
    geo_platform_here("keys", "create", "me", "--scope", "operator", home=tmp_path, extra={})
    port = free_port()
    process = start(
        [*started_by, GEO_PLATFORM, "serve", "--port", str(port)], tmp_path, subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not answers(port) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, by)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output.decode().splitlines()) == (
        0,
        [
            f"http://127.0.0.1:{port}  (data in {tmp_path}, Dagster at http://127.0.0.1:3000)",
            f"Map: http://127.0.0.1:{port}/map/",
        ],
    )
