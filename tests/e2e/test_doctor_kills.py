"""`geo-platform doctor` after a command, or the daemon and its children, were killed."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from geo_platform.cli.application import INSTANCE_TEMPLATES
from geo_platform.doctor.examine import DoctorStores, examine
from geo_platform.doctor.findings import FindingCode
from geo_platform.orchestrator.instance_state import DagsterState, opened
from geo_platform.settings import Profile
from geo_platform.storage.local.scratch import AbandonedFiles
from geo_platform.storage.stores import open_inventory
from tests.support.command import ROOT, SAMPLES, environment, geo_platform, start
from tests.support.in_process import DAGSTER_S_WARNINGS
from tests.support.production import ProfileUnderTest

pytestmark = [pytest.mark.slow, *DAGSTER_S_WARNINGS]
BIN = Path(sys.executable).parent


def test_a_run_whose_command_was_killed_is_found_with_its_remains(
    tmp_path: Path, profile: ProfileUnderTest
) -> None:
    home, source = tmp_path / "home", tmp_path / "landsat.tif"
    shutil.copyfile(SAMPLES / "san_francisco_landsat7.tif", source)
    geo_platform("ingest", source, home=home, extra=profile.environment)
    process = start(
        [str(BIN / "geo-platform"), "ingest", str(source), "--force"],
        home,
        subprocess.DEVNULL,
        extra=profile.environment,
    )
    log = home / "logs" / "platform.jsonl"
    seen = len(log.read_text().splitlines())
    _wait_for(
        lambda: any(
            '"raster_cog"' in line and '"STAGE_START"' in line
            for line in log.read_text().splitlines()[seen:]
        )
    )
    _wait_for(lambda: any((home / "scratch").iterdir()))
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = geo_platform("doctor", "--json", home=home, extra=profile.environment)
    assert found.exit_code == 1, found.stderr
    codes = [finding["code"] for finding in found.lines[0]["findings"]]
    assert codes[0] == "RUN_WITHOUT_PROCESS"
    assert set(codes[1:]) == {"STAGING_LEFT"}
    again = geo_platform(
        "ingest", "--json", source, "--force", home=home, extra=profile.environment
    )
    assert again.lines[0]["outcome"] == "published"
    assert geo_platform("doctor", home=home, extra=profile.environment).exit_code == 0, (
        "the next attempt leaves nothing to fix"
    )


def test_the_remains_of_a_killed_daemon_are_found(
    tmp_path: Path, profile: ProfileUnderTest
) -> None:
    """Its run has no process, the next run waits, and sensors and schedules do not tick."""
    home = tmp_path / "home"
    geo_platform(
        "ingest", SAMPLES / "san_francisco_landsat7.tif", home=home, extra=profile.environment
    )
    with (tmp_path / "daemon.log").open("wb") as output:
        daemon = start(
            [str(BIN / "dagster-daemon"), "run", "-w", "workspace.yaml"],
            home,
            output,
            extra=_dagster(home, profile),
        )
        try:
            with _state(home, profile) as state:
                _wait_for(lambda: any(not tick.is_sensor for tick in state.ticks()))
                _launch(home, profile)
                _wait_for(lambda: any(run.is_alive for run in state.unfinished_runs()))
        finally:
            _kill_with_children(daemon)
    found = geo_platform("doctor", "--json", home=home, extra=profile.environment)
    assert [finding["code"] for finding in found.lines[0]["findings"]] == ["RUN_WITHOUT_PROCESS"], (
        found.lines
    )
    fixed = geo_platform("doctor", "--fix", "--json", home=home, extra=profile.environment)
    assert (fixed.exit_code, len(fixed.lines[0]["mended"])) == (0, 1), fixed.lines

    _launch(home, profile)
    assert geo_platform("doctor", home=home, extra=profile.environment).exit_code == 0, (
        "the daemon has only just stopped"
    )
    settings = profile.settings(home)
    with _state(home, profile) as state:
        stores = DoctorStores(
            profile.catalog(home),
            profile.objects(home),
            open_inventory(settings),
            AbandonedFiles(settings),
            state,
        )
        later = examine(stores, now_utc=datetime.now(UTC) + timedelta(hours=3)).findings
        codes = {FindingCode.SENSOR_SILENT for tick in state.ticks() if tick.is_sensor}
    assert {finding.code for finding in later} == {
        FindingCode.DAEMON_SILENT,
        FindingCode.SCHEDULE_SILENT,
    } | codes


@contextmanager
def _state(home: Path, profile: ProfileUnderTest) -> Iterator[DagsterState]:
    with pytest.MonkeyPatch.context() as patched:
        for name, value in profile.environment.items():
            patched.setenv(name, value)
        with opened(profile.settings(home), ROOT / INSTANCE_TEMPLATES[profile.profile]) as state:
            yield state


def _launch(home: Path, profile: ProfileUnderTest) -> None:
    """Queue a run with Dagster's own command."""
    command = [str(BIN / "dagster"), "job", "launch", "-j", "hello_world", "-w", "workspace.yaml"]
    subprocess.run(
        command,
        cwd=ROOT,
        env=environment(home, _dagster(home, profile)),
        check=True,
        capture_output=True,
    )


def _dagster(home: Path, profile: ProfileUnderTest) -> dict[str, str]:
    folder = "dagster-production" if profile.profile is Profile.production else "dagster"
    return {**profile.environment, "DAGSTER_HOME": str(home / folder)}


def _kill_with_children(process: subprocess.Popen[bytes]) -> None:
    """Kill them all at once, as in a power failure: nobody is left to report the others' end."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        member.suspend()
    for member in family:
        member.kill()
    process.wait()
    psutil.wait_procs(family, timeout=20)


def _wait_for(holds: Callable[[], bool], timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)
