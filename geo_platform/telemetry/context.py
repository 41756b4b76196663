"""Whose work is being done: run, stage, partition, attempt.

What belongs here: the context that log lines, checkpoints and spans are filled from. What stays out: where they go.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_NOBODY: Mapping[str, str | int] = {}
_context: ContextVar[Mapping[str, str | int]] = ContextVar(
    "geo_platform_telemetry_context", default=_NOBODY
)
_shares_step: ContextVar[bool] = ContextVar("geo_platform_shares_step", default=False)


@contextmanager
def sharing_a_step() -> Iterator[None]:
    """What is said inside is of one of several files that share a step of the orchestrator: its text has to name whose it is."""
    token = _shares_step.set(True)
    try:
        yield
    finally:
        _shares_step.reset(token)


def named_in_step() -> str:
    """`[<stage>/<partition>] ` where several files share a step, else nothing."""
    fields = _context.get()
    return (
        f"[{fields.get('stage', '')}/{fields.get('partition', '')}] "
        if _shares_step.get() and "partition" in fields
        else ""
    )


@contextmanager
def telemetry_context(**fields: str | int) -> Iterator[None]:
    """What is said inside carries `fields`: run_id, stage, partition, attempt. Empty ones are left out.

    A thread that is started inside does not inherit it: `contextvars.copy_context().run` hands it over.
    """
    token = _context.set(
        {**_context.get(), **{name: value for name, value in fields.items() if value != ""}}
    )
    try:
        yield
    finally:
        _context.reset(token)


def current() -> Mapping[str, str | int]:
    """The fields of the innermost context; empty outside of a run."""
    return _context.get()
