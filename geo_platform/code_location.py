"""What Dagster's code server loads: it prepares the process, then imports the definitions.

workspace.yaml and deploy/ name this file. `process_start.py` has what is done to the process;
`definitions.py` has the definitions alone.
"""

from geo_platform.process_start import fork_spawned_processes, frozen_imports, limit_blas_threads

limit_blas_threads()

with frozen_imports():
    from assets.stage import span_destinations
    from geo_platform.definitions import defs

    # The chains import their core when a stage is called. Runs are forked off a process that has
    # loaded this module, so what a raster needs is loaded here, once for all runs. What a vector
    # needs is not: pandas alone takes a quarter of a second where runs are not forked.
    from geo_platform.raster import convert, profile  # noqa: F401  # loaded for the runs
    from geo_platform.settings import load_settings
    from geo_platform.telemetry.tracing_export import load_exporters

    load_exporters(span_destinations())

if load_settings().fork_runs:
    fork_spawned_processes(["geo_platform.code_location"])

__all__ = ["defs"]
