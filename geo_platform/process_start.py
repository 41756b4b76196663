"""Prepare a process: threads, garbage collection and forking around the imports, libraries' output.

Importing this module changes nothing; the functions do.

Used by `cli/commands`, `cli`, `geo_platform` and `vector`.
"""

import gc
import logging
import multiprocessing
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# A flag, because gc.get_freeze_count counts the frozen objects one by one.
_imports_are_frozen = False


_OWN_RECORDS = logging.Filter("geo_platform")


def quiet_libraries() -> None:
    """Keep warnings and log records of libraries off standard error.

    What a user has to know about a file is a finding of its item. A warning of a library has a path
    and a line of source code instead, and no remedy. It is logged at the level DEBUG. Records of
    the platform's own loggers are printed as before if no handler takes them.
    """
    warnings.showwarning = _log_warning
    if logging.lastResort is not None:
        logging.lastResort.addFilter(_OWN_RECORDS)


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    logging.getLogger("geo_platform.libraries").debug("%s: %s", category.__name__, message)


def limit_blas_threads() -> None:
    """Keep NumPy from starting OpenBLAS threads, unless the environment sets their number.

    Call it before importing NumPy. The platform does no linear algebra, and idle threads spin at
    first: 5 % of a small command's processor time on two cores.
    https://github.com/OpenMathLib/OpenBLAS#setting-the-number-of-threads-using-environment-variables
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@contextmanager
def frozen_imports() -> Iterator[None]:
    """Pause the garbage collector while importing, then freeze what was imported.

    A run is a process of its own and imports hundreds of thousands of objects that are never freed.
    To examine them repeatedly, and once more at exit, takes a third of the import time
    (docs/decisions/0018).
    https://docs.python.org/3/library/gc.html#gc.freeze
    """
    global _imports_are_frozen
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        _imports_are_frozen = True
        if was_enabled:
            gc.enable()


@contextmanager
def frozen_objects() -> Iterator[None]:
    """Exclude existing objects from garbage collection while many new ones are created.

    If imports are frozen, this does nothing: `gc.unfreeze` would release them too.
    """
    if _imports_are_frozen:
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def fork_spawned_processes(preload: Sequence[str]) -> None:
    """Make multiprocessing's "spawn" fork processes from one that has imported `preload`.

    That process is multiprocessing's fork server, which has a single Python thread. It starts when
    the first process is requested and ends with the calling process (docs/decisions/0025). On
    systems other than Linux this function does nothing: their libraries do not survive a fork.
    """
    if sys.platform != "linux":
        return
    spawned: Any = multiprocessing.get_context("spawn")
    multiprocessing.set_forkserver_preload(list(preload))
    spawned.Process = multiprocessing.get_context("forkserver").Process
