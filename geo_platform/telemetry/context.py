"""The run, stage, partition and attempt that log lines, checkpoints and spans belong to."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_EMPTY: Mapping[str, str | int] = {}
_context: ContextVar[Mapping[str, str | int]] = ContextVar(
    "geo_platform_telemetry_context", default=_EMPTY
)
_shares_step: ContextVar[bool] = ContextVar("geo_platform_shares_step", default=False)


@contextmanager
def sharing_a_step() -> Iterator[None]:
    """Mark the work inside as on one of several files of a step, so that log entries name it."""
    token = _shares_step.set(True)
    try:
        yield
    finally:
        _shares_step.reset(token)


def shares_step() -> bool:
    """Return whether the current work shares its Dagster step with other files."""
    return _shares_step.get()


@contextmanager
def telemetry_context(**fields: str | int) -> Iterator[None]:
    """Add `fields` (run_id, stage, partition, attempt) to what is logged and traced inside.

    Empty fields are ignored. A thread started inside does not inherit the context: pass it with
    `contextvars.copy_context().run`.
    """
    token = _context.set(
        {**_context.get(), **{name: value for name, value in fields.items() if value != ""}}
    )
    try:
        yield
    finally:
        _context.reset(token)


def current() -> Mapping[str, str | int]:
    """Return the fields of the current context; empty outside of a run."""
    return _context.get()
