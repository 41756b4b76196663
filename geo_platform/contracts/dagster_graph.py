"""Read Dagster definitions as a graph of stages: assets, asset checks and their dependencies.

Edges between ops are in `dagster_ops.py`; `verify.py` checks the edges. Only public API of Dagster
is used.
"""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from dagster import (
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    Definitions,
    GraphDefinition,
    JobDefinition,
    SourceAsset,
)

from geo_platform.contracts.dagster_metadata import declared_message
from geo_platform.contracts.dagster_ops import (
    NoValue,
    graph_edges,
    input_annotations,
    job_edges,
    output_annotation,
)
from geo_platform.contracts.fault import Fault, FaultKind
from geo_platform.contracts.graph import Edge, GraphNode, StageGraph


def read_graph(definitions: Definitions) -> StageGraph:
    """Return stages, edges, and faults for dependencies and checks on undefined assets."""
    assets = [*(definitions.assets or ()), *(definitions.asset_checks or ())]
    computed = [asset for asset in assets if isinstance(asset, AssetsDefinition)]
    makes: dict[AssetKey, Any] = {
        key: made for asset in assets for key, made in _produced_by(asset)
    }
    edges = [edge for asset in computed for edge in _edges_into(asset, makes)]
    edges.extend(
        edge for asset in computed if asset.is_executable for edge in _declaration_edges(asset)
    )
    edges.extend(
        edge
        for job in definitions.jobs or ()
        if isinstance(job, JobDefinition) and not job.is_asset_job
        for edge in job_edges(job)
    )
    stages = tuple(GraphNode(_name(key), made) for key, made in makes.items())
    faults = dict.fromkeys(fault for asset in assets for fault in _dangling(asset, makes))
    return StageGraph(stages, tuple(edges), tuple(faults))


def _produced_by(asset: object) -> Iterator[tuple[AssetKey, Any]]:
    """Yield each asset with the type of its value.

    The annotation gives the type, or the metadata if the asset returns nothing or is external.
    """
    if isinstance(asset, AssetSpec | SourceAsset):
        yield asset.key, declared_message(asset.metadata) or Any
    elif isinstance(asset, AssetsDefinition):
        outputs = (
            {key: name for name, key in asset.keys_by_output_name.items()}
            if asset.is_executable
            else {}
        )
        for spec in asset.specs:
            made = (
                output_annotation(asset.node_def, outputs[spec.key]) if spec.key in outputs else Any
            )
            yield (
                spec.key,
                (declared_message(spec.metadata) or made) if made in (Any, NoValue) else made,
            )


def _edges_into(asset: AssetsDefinition, makes: Mapping[AssetKey, Any]) -> Iterator[Edge]:
    if not asset.is_executable:
        return
    reader = _consumer_name(asset)
    # Sorted, because the order in Dagster varies.
    for name, key in sorted(asset.keys_by_input_name.items()):
        if key in makes:
            consumer = reader if name == key.path[-1] else f"{reader}({name})"
            for taken in input_annotations(asset.node_def, name):
                yield Edge(_name(key), consumer, makes[key], taken)
    for spec in asset.specs:
        for dep in spec.deps:
            if dep.asset_key in makes and (expected := declared_message(dep.metadata)) is not None:
                yield Edge(_name(dep.asset_key), _name(spec.key), makes[dep.asset_key], expected)
    if isinstance(asset.node_def, GraphDefinition):
        yield from graph_edges(asset.node_def, reader)


def _declaration_edges(asset: AssetsDefinition) -> Iterator[Edge]:
    """Yield an edge from the returned to the declared type, so that a difference is a fault."""
    outputs = {key: name for name, key in asset.keys_by_output_name.items()}
    for spec in asset.specs:
        declared = declared_message(spec.metadata)
        returned = output_annotation(asset.node_def, outputs[spec.key])
        if declared is not None and returned not in (Any, NoValue):
            yield Edge(_name(spec.key), f"{_name(spec.key)}(metadata)", returned, declared)


def _dangling(asset: object, makes: Mapping[AssetKey, Any]) -> Iterator[Fault]:
    """Yield faults for dependencies on, and checks of, assets that the definitions do not have."""
    if not isinstance(asset, AssetsDefinition | AssetSpec):
        return
    specs = [asset] if isinstance(asset, AssetSpec) else list(asset.specs)
    wanted = [(dep.asset_key, _name(spec.key), "dependency") for spec in specs for dep in spec.deps]
    if isinstance(asset, AssetsDefinition):
        for check in asset.check_specs:
            wanted.append((check.asset_key, f"check {check.name}", "checked asset"))
            wanted.extend(
                (dep.asset_key, f"check {check.name}", "dependency")
                for dep in check.additional_deps
            )
        named = {key for key, _, _ in wanted}
        inputs = asset.keys_by_input_name.values() if asset.is_executable else ()
        wanted.extend(
            (key, _consumer_name(asset), "dependency") for key in inputs if key not in named
        )
    for key, consumer, role in wanted:
        if key not in makes:
            yield Fault(
                FaultKind.undefined_asset,
                "",
                "",
                _name(key),
                consumer,
                note=_undefined_note(key, role, makes),
            )


def _undefined_note(key: AssetKey, role: str, makes: Iterable[AssetKey]) -> str:
    close = get_close_matches(_name(key), [_name(other) for other in makes], n=1)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    return f"{role} `{_name(key)}` is not defined{hint}"


def _consumer_name(asset: AssetsDefinition) -> str:
    """Return the name of the asset, or of the function if it is a check or has several assets."""
    keys = list(asset.keys)
    checks = list(asset.check_specs)
    if len(keys) == 1:
        return _name(keys[0])
    return f"check {checks[0].name}" if len(checks) == 1 and not keys else asset.node_def.name


def _name(key: AssetKey) -> str:
    return key.to_user_string()
