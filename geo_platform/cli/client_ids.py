"""What a client calls its request: `--correlation-id` and `--traceparent`, and the tags that they become.

What belongs here: the two options and what they may be. What stays out: what is made of the tags (`assets/stage.py`).
"""

import re
from collections.abc import Callable
from typing import Any

import click

from geo_platform.runs import CORRELATION_TAG, TRACEPARENT_TAG
from geo_platform.telemetry.tracing import link_to

_VISIBLE = re.compile(r"[\x21-\x7e]{1,128}")
"""So it can be a header, a tag and a field of a log line as it is."""


def client_ids(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds both options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def client_tags(correlation_id: str | None, traceparent: str | None) -> dict[str, str]:
    """The tags of a run that was asked for under these ids."""
    given = {CORRELATION_TAG: correlation_id, TRACEPARENT_TAG: traceparent}
    return {tag: value for tag, value in given.items() if value is not None}


def _correlation_id(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _VISIBLE.fullmatch(value):
        raise click.BadParameter("PARAMETER_INVALID: 1 to 128 visible ASCII characters, without spaces, are an id.")
    return value


def _traceparent(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and link_to(value) is None:
        raise click.BadParameter(
            "PARAMETER_INVALID: it is no W3C trace context: 00-TRACE-SPAN-FLAGS of 32, 16 and 2 hexadecimal digits in lower case, "
            "neither id all zeros."
        )
    return value


_OPTIONS = (
    click.option("--correlation-id", callback=_correlation_id, help="By which you know this request; `geo-platform trace` finds it."),
    click.option("--traceparent", callback=_traceparent, help="W3C trace context of your own span; the run's spans are linked to it."),
)
