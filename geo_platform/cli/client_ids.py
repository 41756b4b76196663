"""What a client calls its request: `--correlation-id` and `--traceparent`, and the tags that they become.

What belongs here: the two options. What stays out: what they may be (`runs.py`), and what is made of the tags (`assets/stage.py`).
"""

from collections.abc import Callable
from typing import Any

import click

from geo_platform.runs import CORRELATION_TAG, FORM_OF_CLIENT_IDS, TRACEPARENT_TAG, is_client_id


def client_ids(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds both options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def client_tags(correlation_id: str | None, traceparent: str | None) -> dict[str, str]:
    """The tags of a run that was asked for under these ids."""
    given = {CORRELATION_TAG: correlation_id, TRACEPARENT_TAG: traceparent}
    return {tag: value for tag, value in given.items() if value is not None}


def _of(tag: str) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    def checked(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
        if value is not None and not is_client_id(tag, value):
            raise click.BadParameter(f"PARAMETER_INVALID: {FORM_OF_CLIENT_IDS[tag]}.")
        return value

    return checked


_OPTIONS = (
    click.option("--correlation-id", callback=_of(CORRELATION_TAG), help="By which you know this request; `geo-platform trace` finds it."),
    click.option(
        "--traceparent", callback=_of(TRACEPARENT_TAG), help="W3C trace context of your own span; the run's spans are linked to it."
    ),
)
