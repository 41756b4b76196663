"""Loading modules once, for as long as the process lives.

What belongs here: what loading costs a short-lived process. What stays out: what is loaded.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loaded_for_good() -> Iterator[None]:
    """Modules imported in it are taken as there to stay: the collector neither runs meanwhile nor looks through them later.

    A run is a process of its own and imports hundreds of thousands of objects that nothing will free. Looking through them again
    and again, at the end of the process once more, is a third of what importing takes (`docs/decisions/0018`). `gc.freeze` is
    what Python offers for it: https://docs.python.org/3/library/gc.html#gc.freeze.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
