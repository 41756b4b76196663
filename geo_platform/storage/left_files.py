"""What processes that are gone left in the folders of a home: scratch folders, and files that were being written.

What belongs here: naming and removing it. What stays out: telling whose a file is (`atomic.py`, `scratch.py`).
"""

from collections.abc import Iterator
from pathlib import Path

from geo_platform.settings import Settings
from geo_platform.storage.atomic import abandoned_incoming, clean_incoming, os_errors
from geo_platform.storage.scratch import ScratchRoot


class LeftFiles:
    """Of one home on this machine. A blob that was half uploaded is not among them: the service drops its blocks within a week."""

    def __init__(self, settings: Settings) -> None:
        self._scratch = ScratchRoot(settings.scratch_dir)
        self._roots: tuple[Path, ...] = (settings.store_dir, settings.catalog_dir, settings.dagster_home_dir)

    def left(self) -> Iterator[str]:
        """Names of scratch folders and half-written files. Raises StoreDenied, StoreUnavailable."""
        with os_errors("The folders of files in the making"):
            for folder in self._scratch.left():
                yield f"scratch folder {folder.name}"
            for root in self._roots:
                for path in abandoned_incoming(root):
                    yield f"file {root.name}/.incoming/{path.name}"

    def sweep(self) -> int:
        """Remove them; how many. Raises StoreDenied, StoreUnavailable."""
        with os_errors("The folders of files in the making"):
            return len(self._scratch.sweep()) + sum(clean_incoming(root) for root in self._roots)
