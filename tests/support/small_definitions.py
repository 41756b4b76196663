"""A code location with one job and one partition definition: what a test of the webserver alone needs."""

import dagster as dg


@dg.op
def wait_for_nothing() -> None:
    """Done at once."""


@dg.job
def small() -> None:
    wait_for_nothing()


@dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="small_partitions"))
def small_asset() -> None:
    """Never made."""


defs = dg.Definitions(jobs=[small], assets=[small_asset])
