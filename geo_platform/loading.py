"""What loading modules costs processes that live shortly, and what of it they can be spared.

What belongs here: that. What stays out: what is loaded.
"""

import gc
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# Kept here: to ask the collector how much is frozen takes as long as to count it.
_is_loaded_for_good = False


def without_idle_threads() -> None:
    """To be called before NumPy is imported: its OpenBLAS starts no threads, unless the environment says how many.

    They would wait for linear algebra, of which there is none here, and begin by waiting busily: 5 % of a small command's processor time
    on two cores. https://github.com/OpenMathLib/OpenBLAS#setting-the-number-of-threads-using-environment-variables
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@contextmanager
def loaded_for_good() -> Iterator[None]:
    """Modules imported in it are taken as there to stay: the collector neither runs meanwhile nor looks through them later.

    A run is a process of its own and imports hundreds of thousands of objects that nothing will free. Looking through them again
    and again, at the end of the process once more, is a third of what importing takes (`docs/decisions/0018`). `gc.freeze` is
    what Python offers for it: https://docs.python.org/3/library/gc.html#gc.freeze.
    """
    global _is_loaded_for_good
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        _is_loaded_for_good = True
        if was_enabled:
            gc.enable()


@contextmanager
def set_aside() -> Iterator[None]:
    """What is there is not looked through meanwhile, while many objects are made.

    What is loaded for good stays so: it is set aside already, and `gc.unfreeze` would take that back with the rest.
    """
    if _is_loaded_for_good:
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def fork_spawned_from_loaded(modules: Sequence[str]) -> None:
    """From now on a process that this one starts by multiprocessing's "spawn" is forked off one that has loaded `modules` before.

    That one is multiprocessing's own fork server, with one thread of Python's. It begins with the first process that is asked for, and
    ends with this one. Nothing happens on systems other than Linux, whose libraries do not stand a fork. Why, and
    what it rests on: `docs/decisions/0025`.
    """
    if sys.platform != "linux":
        return
    spawned: Any = multiprocessing.get_context("spawn")
    multiprocessing.set_forkserver_preload(list(modules))
    spawned.Process = multiprocessing.get_context("forkserver").Process
