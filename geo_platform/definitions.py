"""Dagster's composition root: wiring only. The only place that joins a resource key to a resource.

Loading it needs no secret, no network, no server and no environment variable. What the stages hand each other is
verified here, so that two stages which disagree never get as far as a run.
"""

from pathlib import Path

import dagster as dg

from assets import hello, raster, vector
from assets.checks import ASSET_CHECKS
from geo_platform.contracts.verify import verify_definitions
from resources.messages import Messages
from resources.scratch import ScratchFolder
from resources.stores import FolderObjects, LakeFeatures, StacFolder
from schedules.jobs import JOBS

_objects = FolderObjects()

defs = verify_definitions(
    dg.Definitions(
        assets=dg.load_assets_from_modules([hello, raster, vector]),
        asset_checks=ASSET_CHECKS,
        jobs=JOBS,
        resources={
            "objects": _objects,
            "features": LakeFeatures(),
            "catalog": StacFolder(),
            "scratch": ScratchFolder(),
            "io_manager": Messages(objects=_objects),
        },
    ),
    lock_path=Path(__file__).resolve().parent.parent / "contracts.lock.json",
)
