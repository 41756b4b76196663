"""Dagster's composition root: it joins assets, jobs, sensors and resources, and nothing else.

Loading it needs no secret, network or server. Only the profile may come from the environment.
The messages between stages are verified here: if stages do not fit together, loading fails.

Called by `cli/application.py` and `code_location.py`.
"""

from pathlib import Path

import dagster as dg

from assets import modules
from assets.checks import ASSET_CHECKS
from geo_platform.contracts.verify import verify_definitions
from geo_platform.settings import load_settings
from resources.stores import resources_of
from schedules.jobs import ASSET_JOBS, OP_JOBS, SCHEDULES
from schedules.sensors import (
    STATE_SENSORS,
    arrival_sensors,
    large_vector_items,
    quarantine_refused,
    stuck_runs,
)

_settings = load_settings()

defs = verify_definitions(
    dg.Definitions(
        assets=dg.load_assets_from_modules(modules.ASSET_MODULES),
        asset_checks=ASSET_CHECKS,
        jobs=[*ASSET_JOBS, *OP_JOBS],
        schedules=SCHEDULES,
        sensors=[
            large_vector_items,
            stuck_runs,
            quarantine_refused,
            *STATE_SENSORS,
            *arrival_sensors(_settings),
        ],
        resources=resources_of(_settings.profile),
    ),
    # The lock file is in the application root, beside the loaded assets, not in the wheel.
    lock_path=Path(modules.__file__).resolve().parent.parent / "contracts.lock.json",
)
