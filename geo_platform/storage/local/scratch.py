"""Scratch folders: one per stage, removed at its end; those of killed processes are removed by the next start.

What belongs here: making, naming and sweeping folders. What stays out: what is put into them.

What processes that are gone left in the folders of a home: scratch folders, and files that were being written.

What belongs here: naming and removing it. What stays out: telling whose a file is (`atomic.py`, `scratch.py`).
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geo_platform.settings import Settings
from geo_platform.storage.local.atomic import (
    ABANDONED_AFTER_S,
    abandoned_incoming,
    clean_incoming,
    os_errors,
    own_folder,
    this_machine,
)
from geo_platform.storage.local.process import is_alive, this_process


class LeftFiles:
    """Of one home on this machine. A blob that was half uploaded is not among them: the service drops its blocks within a week."""

    def __init__(self, settings: Settings) -> None:
        self._scratch = ScratchRoot(settings.scratch_dir)
        self._roots: tuple[Path, ...] = (
            settings.store_dir,
            settings.catalog_dir,
            settings.dagster_home_dir,
        )

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


_AT = "@"
_MARK = "--"


class ScratchRoot:
    """Implements `ports.Scratch` in a folder.

    A folder's name carries the process that made it and its machine, so that a sweep can tell a killed run's leftovers from
    the files of one that is still at work: `<process>@<machine>--<run>-…`. Several machines, or containers, may share the root.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def of_run(self, run_id: str) -> Iterator[Path]:
        own_folder(self._root)
        with tempfile.TemporaryDirectory(prefix=_prefix(run_id[:8]), dir=self._root) as name:
            yield Path(name)

    def of_process(self, name: str) -> Path:
        """An empty folder that whoever asked for it removes; where the process is killed, a later sweep does."""
        return Path(tempfile.mkdtemp(prefix=_prefix(name), dir=own_folder(self._root)))

    def left(self) -> list[Path]:
        """Folders of processes of this machine that are gone, and old ones of other machines, whose processes cannot be asked after."""
        if not self._root.is_dir():
            return []
        return [
            folder
            for folder in self._root.iterdir()
            if _MARK in folder.name and _is_abandoned(folder)
        ]

    def sweep(self) -> tuple[str, ...]:
        """Remove what dead processes left; returns the names removed."""
        left = self.left()
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)
        return tuple(sorted(folder.name for folder in left))


def _prefix(name: str) -> str:
    return f"{this_process()}{_AT}{this_machine()}{_MARK}{name}-"


def _is_abandoned(folder: Path) -> bool:
    process, _, machine = folder.name.split(_MARK)[0].partition(_AT)
    if machine in ("", this_machine()):  # names of earlier versions have no machine
        return not is_alive(process)
    try:
        return time.time() - folder.stat().st_ctime > ABANDONED_AFTER_S
    except FileNotFoundError:  # its stage has ended meanwhile
        return False
