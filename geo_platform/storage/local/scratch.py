"""Create scratch folders for stages, and find and remove the temporary files of killed processes.

A stage removes its scratch folder at its end. If its process is killed, a sweep removes the folder:
at the next start, or by `geo-platform doctor`. `atomic.py` has the half-written files of stores.

Used by `cli/commands`, `cli`, `resources` and `storage/azure`.
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
    ensure_folder,
    os_errors,
)
from geo_platform.storage.local.process import is_alive, this_machine, this_process

# A folder is named <process>@<machine>--<run>-<random>.
_MACHINE_SEPARATOR = "@"
_RUN_SEPARATOR = "--"


class ScratchRoot:
    """Implements `ports.Scratch` in a folder, which several machines or containers may share.

    The name of a scratch folder holds the process and the machine that created it. So a sweep
    removes only folders whose process no longer runs.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def of_run(self, run_id: str) -> Iterator[Path]:
        """Open a context that gives an empty folder and removes it at the end.

        Raises StoreDenied, StoreUnavailable: the root folder cannot be created. OSError: the
        scratch folder cannot be created.
        """
        ensure_folder(self._root)
        with tempfile.TemporaryDirectory(prefix=_prefix(run_id[:8]), dir=self._root) as name:
            yield Path(name)

    def of_process(self, name: str) -> Path:
        """Create an empty folder, which the caller removes.

        If the process is killed before, a later sweep removes it.
        Raises StoreDenied, StoreUnavailable: the root folder cannot be created. OSError: the
        scratch folder cannot be created.
        """
        return Path(tempfile.mkdtemp(prefix=_prefix(name), dir=ensure_folder(self._root)))

    def abandoned(self) -> list[Path]:
        """Return the folders of processes that no longer run.

        Processes of other machines cannot be checked: their folders count if they are older than a
        day. Raises OSError: the root folder cannot be read.
        """
        if not self._root.is_dir():
            return []
        return [
            folder
            for folder in self._root.iterdir()
            if _RUN_SEPARATOR in folder.name and _is_abandoned(folder)
        ]

    def sweep(self) -> tuple[str, ...]:
        """Remove the folders of processes that no longer run, and return their names.

        Raises OSError: the root folder cannot be read.
        """
        folders = self.abandoned()
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        return tuple(sorted(folder.name for folder in folders))


class AbandonedFiles:
    """The temporary files and folders that killed processes left in the folders of a home.

    Blocks of an unfinished upload to Azure are not included: the service drops them after a week.
    """

    def __init__(self, settings: Settings) -> None:
        self._scratch = ScratchRoot(settings.scratch_dir)
        self._roots: tuple[Path, ...] = (
            settings.store_dir,
            settings.catalog_dir,
            settings.dagster_home_dir,
        )

    def descriptions(self) -> Iterator[str]:
        """Yield a line of text for each abandoned scratch folder and half-written file.

        Raises StoreDenied, StoreUnavailable: a folder cannot be read.
        """
        with os_errors("The folders for temporary files"):
            for folder in self._scratch.abandoned():
                yield f"scratch folder {folder.name}"
            for root in self._roots:
                for path in abandoned_incoming(root):
                    yield f"file {root.name}/.incoming/{path.name}"

    def sweep(self) -> int:
        """Remove the abandoned folders and files, and return their number.

        Raises StoreDenied, StoreUnavailable: a folder cannot be read.
        """
        with os_errors("The folders for temporary files"):
            return len(self._scratch.sweep()) + sum(clean_incoming(root) for root in self._roots)


def _prefix(name: str) -> str:
    return f"{this_process()}{_MACHINE_SEPARATOR}{this_machine()}{_RUN_SEPARATOR}{name}-"


def _is_abandoned(folder: Path) -> bool:
    process, _, machine = folder.name.split(_RUN_SEPARATOR)[0].partition(_MACHINE_SEPARATOR)
    if machine in ("", this_machine()):  # names of earlier releases have no machine
        return not is_alive(process)
    try:
        return time.time() - folder.stat().st_ctime > ABANDONED_AFTER_S
    except FileNotFoundError:  # The stage ended and removed its folder.
        return False
