"""A code location with one job and one partition definition, for tests of the webserver alone."""

import dagster as dg


@dg.op
def wait_for_nothing() -> None:
    """Do nothing."""


@dg.job
def small() -> None:
    wait_for_nothing()


@dg.asset(partitions_def=dg.DynamicPartitionsDefinition(name="small_partitions"))
def small_asset() -> None:
    """Never materialized."""


defs = dg.Definitions(jobs=[small], assets=[small_asset])
