"""Whose work is being done: run, stage, partition, attempt.

What belongs here: the context that log lines, checkpoints and spans are filled from. What stays out: where they go.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_NOBODY: Mapping[str, str | int] = {}
_context: ContextVar[Mapping[str, str | int]] = ContextVar("geo_platform_telemetry_context", default=_NOBODY)


@contextmanager
def telemetry_context(**fields: str | int) -> Iterator[None]:
    """What is said inside carries `fields`: run_id, stage, partition, attempt. Empty ones are left out.

    A thread that is started inside does not inherit it: `contextvars.copy_context().run` hands it over.
    """
    token = _context.set({**_context.get(), **{name: value for name, value in fields.items() if value != ""}})
    try:
        yield
    finally:
        _context.reset(token)


def current() -> Mapping[str, str | int]:
    """The fields of the innermost context; empty outside of a run."""
    return _context.get()
