"""The module that Dagster's code server loads: prepare the process, then import the definitions.

workspace.yaml and deploy/ name this file. `process_start.py` prepares the process;
`definitions.py` has the definitions alone.
"""

from geo_platform.process_start import (
    fork_spawned_processes,
    frozen_imports,
    limit_blas_threads,
    quiet_libraries,
)

limit_blas_threads()
quiet_libraries()

with frozen_imports():
    from assets.stage import span_destinations
    from geo_platform.definitions import defs

    # A chain (the stages of one job) imports its core when a stage is called. Runs are forked from
    # a process that has loaded this module, so the raster core is imported here, once for all runs.
    # The vector core is not imported here: where runs are not forked, pandas alone would cost each
    # run a quarter of a second.
    from geo_platform.raster import convert, profile  # noqa: F401  # imported for forked runs
    from geo_platform.settings import load_settings
    from geo_platform.telemetry.tracing_export import load_exporters

    load_exporters(span_destinations())

if load_settings().fork_runs:
    fork_spawned_processes(["geo_platform.code_location"])

__all__ = ["defs"]
