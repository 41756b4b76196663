"""prepared_greeting -> spoken_greeting: two stages and a contract between them, the smoke test of a deployment."""

from datetime import UTC, datetime

import dagster as dg

from assets.stage import OWNERS, StageConfig, stage
from geo_platform.contracts.publication import GreetingPrepared, GreetingSpoken
from geo_platform.options import GreetingOptions


class GreetingConfig(StageConfig, GreetingOptions):
    """Whom to greet."""


@dg.asset(group_name="hello", owners=OWNERS, kinds={"python"})
def prepared_greeting(
    context: dg.AssetExecutionContext, config: GreetingConfig
) -> dg.MaterializeResult[GreetingPrepared]:
    """The name to greet and when it was taken down."""
    with stage(context):
        greeting = GreetingPrepared(name=config.name, prepared_at_utc=datetime.now(UTC))
    return dg.MaterializeResult(value=greeting, metadata={"name": greeting.name})


@dg.asset(group_name="hello", owners=OWNERS, kinds={"python"})
def spoken_greeting(
    context: dg.AssetExecutionContext, prepared_greeting: GreetingPrepared
) -> dg.MaterializeResult[GreetingSpoken]:
    """The greeting, which proves that a message went from one stage to the next."""
    with stage(context):
        spoken = GreetingSpoken(text=f"hello {prepared_greeting.name}")
    return dg.MaterializeResult(value=spoken, metadata={"text": spoken.text})
