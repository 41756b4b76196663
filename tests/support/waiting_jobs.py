"""A code location with jobs that take a slot of the pool `cog`, and the sensor of stuck runs.

Run as a program, it takes the slot in the Dagster of DAGSTER_HOME, prints its run's id, and keeps
both until it is killed.
"""

import os
import sys
import time

import dagster as dg

from geo_platform.orchestrator.instance import HOST_TAG, PROCESS_TAG
from geo_platform.storage.local.process import this_process
from schedules.sensors import stuck_runs

POOL = "cog"


@dg.op(pool=POOL)
def take_a_slot() -> None:
    """Take the slot and end."""


@dg.job(executor_def=dg.in_process_executor)
def taking() -> None:
    take_a_slot()


@dg.op(pool=POOL)
def keep_a_slot(context: dg.OpExecutionContext) -> None:
    sys.stdout.write(f"{context.run_id}\n")
    sys.stdout.flush()
    time.sleep(600)


@dg.job(executor_def=dg.in_process_executor)
def keeping() -> None:
    keep_a_slot()


defs = dg.Definitions(jobs=[taking], sensors=[stuck_runs])

if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        keeping.execute_in_process(
            instance=instance, tags={PROCESS_TAG: this_process(), HOST_TAG: os.uname().nodename}
        )
