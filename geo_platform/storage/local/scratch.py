"""Scratch folders, one per stage, and what killed processes left in the folders of a home.

A stage removes its scratch folder at its end. The next start, and `geo-platform doctor`, remove
those of killed processes. How to tell whose a half-written file is: `atomic.py`.
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
)
from geo_platform.storage.local.process import is_alive, this_machine, this_process

# A folder is named <process>@<machine>--<run>-<random>.
_MACHINE_SEPARATOR = "@"
_RUN_SEPARATOR = "--"


class ScratchRoot:
    """Implements `ports.Scratch` in a folder, which several machines or containers may share.

    The name of a scratch folder holds the process and the machine that made it, so that a sweep can
    tell the leftovers of a killed process from the folder of one that is still running.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def of_run(self, run_id: str) -> Iterator[Path]:
        """Open a context that gives an empty folder. Raises StoreDenied, StoreUnavailable."""
        own_folder(self._root)
        with tempfile.TemporaryDirectory(prefix=_prefix(run_id[:8]), dir=self._root) as name:
            yield Path(name)

    def of_process(self, name: str) -> Path:
        """Make an empty folder that the caller removes, or a later sweep if the caller is killed.

        Raises StoreDenied, StoreUnavailable.
        """
        return Path(tempfile.mkdtemp(prefix=_prefix(name), dir=own_folder(self._root)))

    def left(self) -> list[Path]:
        """Return the folders of processes that no longer run.

        Processes of other machines cannot be checked: their folders count once they are old.
        """
        if not self._root.is_dir():
            return []
        return [
            folder
            for folder in self._root.iterdir()
            if _RUN_SEPARATOR in folder.name and _is_abandoned(folder)
        ]

    def sweep(self) -> tuple[str, ...]:
        """Remove the folders of processes that no longer run, and return their names."""
        left = self.left()
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)
        return tuple(sorted(folder.name for folder in left))


class AbandonedFiles:
    """What killed processes of this machine left in the folders of a home.

    Blocks of an unfinished upload to Azure are not included: the service drops them after a week.
    """

    def __init__(self, settings: Settings) -> None:
        self._scratch = ScratchRoot(settings.scratch_dir)
        self._roots: tuple[Path, ...] = (
            settings.store_dir,
            settings.catalog_dir,
            settings.dagster_home_dir,
        )

    def left(self) -> Iterator[str]:
        """Yield a line for each scratch folder and half-written file.

        Raises StoreDenied, StoreUnavailable.
        """
        with os_errors("The folders for temporary files"):
            for folder in self._scratch.left():
                yield f"scratch folder {folder.name}"
            for root in self._roots:
                for path in abandoned_incoming(root):
                    yield f"file {root.name}/.incoming/{path.name}"

    def sweep(self) -> int:
        """Remove them and return how many there were. Raises StoreDenied, StoreUnavailable."""
        with os_errors("The folders for temporary files"):
            return len(self._scratch.sweep()) + sum(clean_incoming(root) for root in self._roots)


def _prefix(name: str) -> str:
    return f"{this_process()}{_MACHINE_SEPARATOR}{this_machine()}{_RUN_SEPARATOR}{name}-"


def _is_abandoned(folder: Path) -> bool:
    process, _, machine = folder.name.split(_RUN_SEPARATOR)[0].partition(_MACHINE_SEPARATOR)
    if machine in ("", this_machine()):  # names of earlier versions have no machine
        return not is_alive(process)
    try:
        return time.time() - folder.stat().st_ctime > ABANDONED_AFTER_S
    except FileNotFoundError:  # its stage ended meanwhile
        return False
