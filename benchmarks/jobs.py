"""Run our side of each comparison: the real command on an empty home."""

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.data import WORK
from benchmarks.measure import Measured, run

HOME = WORK / "home"
COMMAND = str(Path(sys.executable).with_name("geo-platform"))


@dataclass(frozen=True)
class JobMeasured:
    """One run of a job.

    `work_s` is the seconds of the stages after the object's arrival; `overhead_s` is the rest.
    """

    process: Measured
    work_s: float
    stages: dict[str, float]
    outputs: list[str]

    @property
    def overhead_s(self) -> float:
        return self.process.wall_s - self.work_s


def ingest(source: Path, *options: str) -> JobMeasured:
    """Run `geo-platform ingest` on an empty home, so that nothing is reused."""
    shutil.rmtree(HOME, ignore_errors=True)
    env = {**os.environ, "GEO_PLATFORM_HOME": str(HOME)}
    measured = run([COMMAND, "ingest", "--json", source, *options], env=env)
    answer = json.loads(measured.stdout.splitlines()[-1])
    if answer["outcome"] != "published":
        raise RuntimeError(f"geo-platform ingest did not publish {source}: {answer}")
    status = json.loads(run([COMMAND, "status", answer["run_id"], "--json"], env=env).stdout)
    stages = {
        name: seconds
        for name, seconds in status["stage_seconds"].items()
        if not name.startswith("raw_")
    }
    return JobMeasured(measured, sum(stages.values()), stages, answer["outputs"])
