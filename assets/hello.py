"""The assets of the smoke test of a deployment: prepared_greeting -> spoken_greeting.

A module of its own, as each chain has one for its assets.

Called by `modules.py`.
"""

import dagster as dg

from assets.stage import OWNERS, StageConfig, run_stage
from geo_platform.chains.chain import StageStores
from geo_platform.chains.hello import PREPARE, SPEAK
from geo_platform.contracts.publication import GreetingPrepared, GreetingSpoken
from geo_platform.options import GreetingOptions, Options


class GreetingConfig(StageConfig, GreetingOptions):
    """Whom to greet."""


@dg.asset(description=PREPARE.description, group_name="hello", owners=OWNERS, kinds={"python"})
def prepared_greeting(
    context: dg.AssetExecutionContext, config: GreetingConfig
) -> dg.MaterializeResult[GreetingPrepared]:
    """Note the name to greet."""
    greeting = run_stage(PREPARE, context, config, None, StageStores())
    return dg.MaterializeResult(value=greeting, metadata={"name": greeting.name})


@dg.asset(description=SPEAK.description, group_name="hello", owners=OWNERS, kinds={"python"})
def spoken_greeting(
    context: dg.AssetExecutionContext, prepared_greeting: GreetingPrepared
) -> dg.MaterializeResult[GreetingSpoken]:
    """Greet, from the message of the stage before."""
    spoken = run_stage(SPEAK, context, Options(), prepared_greeting, StageStores())
    return dg.MaterializeResult(value=spoken, metadata={"text": spoken.text})
