"""What a process does to itself before and after it imports the platform, so that it starts sooner.

`code_location.py` and the command line decide which of it they want; importing this module changes
nothing.
"""

import gc
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# Asking the collector how much is frozen takes as long as counting it.
_imports_are_frozen = False


def limit_blas_threads() -> None:
    """Start no OpenBLAS threads with NumPy, unless the environment sets their number.

    Call it before importing NumPy.

    The platform does no linear algebra, and idle threads begin by spinning: 5 % of a small
    command's processor time on two cores.
    https://github.com/OpenMathLib/OpenBLAS#setting-the-number-of-threads-using-environment-variables
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@contextmanager
def frozen_imports() -> Iterator[None]:
    """Pause the garbage collector while importing, then freeze what was imported
    (docs/decisions/0018).

    A run is a process of its own and imports hundreds of thousands of objects that are never freed.
    Collecting them again and again, and once more at exit, takes a third of the import time.
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
    """Exclude existing objects from collection while many new ones are made.

    Frozen imports stay frozen: they are excluded already, and `gc.unfreeze` would release them too.
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
    """Make multiprocessing's "spawn" fork new processes off one that has imported `preload`
    (docs/decisions/0025).

    That process is multiprocessing's own fork server, with a single Python thread. It starts with
    the first process requested and ends with this one. Does nothing except on Linux: other systems'
    libraries do not survive a fork.
    """
    if sys.platform != "linux":
        return
    spawned: Any = multiprocessing.get_context("spawn")
    multiprocessing.set_forkserver_preload(list(preload))
    spawned.Process = multiprocessing.get_context("forkserver").Process
