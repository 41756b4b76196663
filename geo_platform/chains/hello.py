"""The smoke test of a deployment: prepared_greeting -> spoken_greeting.

It has no source, and therefore no partitions, no fingerprint and no item. So it is not a `Chain`.

Used by `api/jobs`, `assets` and `schedules`.
"""

from datetime import UTC, datetime

from geo_platform.chains.chain import Stage, StageCall
from geo_platform.contracts.publication import GreetingPrepared, GreetingSpoken
from geo_platform.options import GreetingOptions, Options

HELLO_JOB = "hello_world"


def _prepare(call: StageCall[None, GreetingOptions]) -> GreetingPrepared:
    return GreetingPrepared(name=call.options.name, prepared_at_utc=datetime.now(UTC))


def _speak(call: StageCall[GreetingPrepared, Options]) -> GreetingSpoken:
    return GreetingSpoken(text=f"hello {call.message.name}")


PREPARE = Stage(
    "prepared_greeting",
    None,
    GreetingPrepared,
    GreetingOptions,
    1,
    _prepare,
    description="The name to greet and when it was taken down.",
)
SPEAK = Stage(
    "spoken_greeting",
    GreetingPrepared,
    GreetingSpoken,
    Options,
    1,
    _speak,
    description="The greeting, which proves that a message went from one stage to the next.",
)

HELLO_STAGES = (PREPARE, SPEAK)
