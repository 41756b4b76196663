"""A folder of its own for each stage's files in the making; what killed processes left is removed when a run begins."""

from pathlib import Path

import dagster as dg

from geo_platform.ports import Scratch
from geo_platform.settings import load_settings
from geo_platform.storage.local.scratch import ScratchRoot


class ScratchFolder(dg.ConfigurableResource[Scratch]):
    """Scratch folders below one root."""

    root: str | None = None

    def create_resource(self, context: dg.InitResourceContext) -> Scratch:
        root = ScratchRoot(Path(self.root) if self.root else load_settings().scratch_dir)
        root.sweep()
        return root
