"""Dagster's asset checks, made from the checks of the chains (the stages of one job each).

`geo_platform/chains/` defines what each check compares.

Called by `definitions.py` and `files.py`.
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
    """Make the asset check. Its function gets a parameter for each message that the check reads.

    The signature is built here, since Dagster and the contract verifier read from it the names and
    types of the messages.
    """

    def evaluate(**inputs: Any) -> dg.AssetCheckResult:
        return as_dagster(check.of_messages(stage, inputs, inputs.get("catalog")))

    annotations: dict[str, Any] = {read.name: read.gives for read in (stage, *check.also_reads)}
    if check.reads_catalog:
        annotations["catalog"] = dg.ResourceParam[Catalog]
    parameters = [
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, annotation=annotation)
        for name, annotation in annotations.items()
    ]
    evaluate.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # inspect reads it
    evaluate.__annotations__ = {**annotations, "return": dg.AssetCheckResult}
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
    """Evaluate the checks of a stage. `messages` maps the name of a stage to its message.

    Raises StoreUnavailable, StoreDenied, DatabaseUnavailable, CatalogRejected: a check reads the
    catalog, and the catalog or the item cannot be read.
    """
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
