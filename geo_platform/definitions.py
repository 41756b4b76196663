"""Dagster's composition root: wiring only. The only place that joins a resource key to a resource.

Loading it needs no secret, no network, no server and no environment variable; one variable may choose the profile. What the
stages hand each other is verified here, so that two stages which disagree never get as far as a run.
"""

from pathlib import Path

from geo_platform.loading import fork_spawned_from_loaded, loaded_for_good, without_idle_threads

without_idle_threads()

with loaded_for_good():
    import dagster as dg

    from assets import modules
    from assets.checks import ASSET_CHECKS
    from assets.stage import span_destinations
    from geo_platform.contracts.verify import verify_definitions
    from geo_platform.settings import load_settings
    from geo_platform.telemetry.tracing_export import load_exporters
    from resources.profiles import resources_of
    from schedules.jobs import ASSET_JOBS, OP_JOBS
    from schedules.retention import SCHEDULES
    from schedules.sensors import (
        STATE_SENSORS,
        arrival_sensors,
        quarantine_refused,
        stuck_runs,
    )

    _settings = load_settings()
    load_exporters(span_destinations())

    defs = verify_definitions(
        dg.Definitions(
            assets=dg.load_assets_from_modules(modules.ASSET_MODULES),
            asset_checks=ASSET_CHECKS,
            jobs=[*ASSET_JOBS, *OP_JOBS],
            schedules=SCHEDULES,
            sensors=[stuck_runs, quarantine_refused, *STATE_SENSORS, *arrival_sensors(_settings)],
            resources=resources_of(_settings.profile),
        ),
        # In the application root, which a wheel is not: beside the assets that are loaded.
        lock_path=Path(modules.__file__).resolve().parent.parent / "contracts.lock.json",
    )

if _settings.fork_runs:
    fork_spawned_from_loaded(["geo_platform.definitions"])
