"""Dagster's asset checks, made from the checks that the chains describe.

What each check compares is in `geo_platform/chains/`.
"""

import warnings
from collections.abc import Mapping
from inspect import Parameter, Signature
from typing import Any

import dagster as dg

from assets.partitions import partitions_of
from geo_platform.chains.chain import AnyStage, Chain, Check, CheckResult
from geo_platform.chains.registry import CHAINS
from geo_platform.contracts.message import Message
from geo_platform.ports import Catalog

# Partitioned checks are a preview in Dagster 1.13. Why they are used:
# docs/decisions/0003-partitioned-asset-checks.md.
warnings.filterwarnings(
    "ignore", message="Specifying a partitions_def on an AssetCheckSpec", category=dg.PreviewWarning
)


def _asset_check(chain: Chain, stage: AnyStage, check: Check) -> dg.AssetChecksDefinition:
    """Make the asset check. Its function has a parameter for each message that the check reads.

    Dagster and the contract verifier read names and types of messages from the signature.
    """

    def evaluate(**given: Any) -> dg.AssetCheckResult:
        return as_dagster(check.of_messages(stage, given, given.get("catalog")))

    taken: dict[str, Any] = {read.name: read.gives for read in (stage, *check.also_reads)}
    if check.reads_catalog:
        taken["catalog"] = dg.ResourceParam[Catalog]
    parameters = [
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)
        for name, annotation in taken.items()
    ]
    evaluate.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # inspect reads it
    evaluate.__annotations__ = {**taken, "return": dg.AssetCheckResult}
    return dg.asset_check(
        asset=stage.name,
        name=check.name,
        description=check.description,
        additional_ins={read.name: dg.AssetIn(read.name) for read in check.also_reads},
        partitions_def=partitions_of(chain),
    )(evaluate)


def as_dagster(result: CheckResult) -> dg.AssetCheckResult:
    """Return the result in Dagster's terms."""
    return dg.AssetCheckResult(passed=result.passed, metadata=result.metadata)


def results_of(
    stage: AnyStage, messages: Mapping[str, Message], catalog: Catalog
) -> dict[str, dg.AssetCheckResult]:
    """Evaluate the checks of a stage on messages by stage name. Raises the catalog's errors."""
    return {
        check.name: as_dagster(check.of_messages(stage, messages, catalog))
        for check in stage.checks
    }


ASSET_CHECKS = [
    _asset_check(chain, stage, check)
    for chain in CHAINS
    for stage in chain.stages
    for check in stage.checks
]
