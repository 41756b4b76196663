"""Dagster definitions as a graph of stages: `read_graph(definitions)`.

What belongs here: assets, asset checks, and what they depend on. What stays out: judging an edge (`verify.py`), edges
between ops (`dagster_ops.py`), run config (`dagster_config.py`). Nothing here touches Dagster's private modules.
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
from geo_platform.contracts.graph import Edge, Stage, StageGraph


def read_graph(definitions: Definitions) -> StageGraph:
    """Stages, edges, and the dependencies and checks whose asset nobody defines."""
    assets = [*(definitions.assets or ()), *(definitions.asset_checks or ())]
    computed = [asset for asset in assets if isinstance(asset, AssetsDefinition)]
    makes: dict[AssetKey, Any] = {key: made for asset in assets for key, made in _made_by(asset)}
    edges = [edge for asset in computed for edge in _edges_into(asset, makes)]
    edges.extend(edge for asset in computed if asset.is_executable for edge in _declarations(asset))
    edges.extend(
        edge
        for job in definitions.jobs or ()
        if isinstance(job, JobDefinition) and not job.is_asset_job
        for edge in job_edges(job)
    )
    stages = tuple(Stage(_name(key), made) for key, made in makes.items())
    faults = dict.fromkeys(fault for asset in assets for fault in _dangling(asset, makes))
    return StageGraph(stages, tuple(edges), tuple(faults))


def _made_by(asset: object) -> Iterator[tuple[AssetKey, Any]]:
    """What each asset hands on: by its annotation, or by its spec's metadata where it returns nothing or is external."""
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
    reader = _reader(asset)
    for name, key in sorted(asset.keys_by_input_name.items()):  # Dagster's own order varies
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


def _declarations(asset: AssetsDefinition) -> Iterator[Edge]:
    """An asset that returns one type must not declare another."""
    outputs = {key: name for name, key in asset.keys_by_output_name.items()}
    for spec in asset.specs:
        declared = declared_message(spec.metadata)
        returned = output_annotation(asset.node_def, outputs[spec.key])
        if declared is not None and returned not in (Any, NoValue):
            yield Edge(_name(spec.key), f"{_name(spec.key)}(metadata)", returned, declared)


def _dangling(asset: object, makes: Mapping[AssetKey, Any]) -> Iterator[Fault]:
    """Dependencies on, and checks of, assets that are not in the definitions, not even as an external `AssetSpec`."""
    if not isinstance(asset, AssetsDefinition | AssetSpec):
        return
    specs = [asset] if isinstance(asset, AssetSpec) else list(asset.specs)
    wanted = [
        (dep.asset_key, _name(spec.key), "a dependency") for spec in specs for dep in spec.deps
    ]
    if isinstance(asset, AssetsDefinition):
        for check in asset.check_specs:
            wanted.append((check.asset_key, f"check {check.name}", "an asset to check"))
            wanted.extend(
                (dep.asset_key, f"check {check.name}", "a dependency")
                for dep in check.additional_deps
            )
        named = {key for key, _, _ in wanted}
        inputs = asset.keys_by_input_name.values() if asset.is_executable else ()
        wanted.extend((key, _reader(asset), "a dependency") for key in inputs if key not in named)
    for key, consumer, role in wanted:
        if key not in makes:
            yield Fault(
                FaultKind.undefined_asset,
                "",
                "",
                _name(key),
                consumer,
                note=_nobody(key, role, makes),
            )


def _nobody(key: AssetKey, role: str, makes: Iterable[AssetKey]) -> str:
    close = get_close_matches(_name(key), [_name(other) for other in makes], n=1)
    return f"nobody defines `{_name(key)}`, {role}" + (f"; is it `{close[0]}`?" if close else "")


def _reader(asset: AssetsDefinition) -> str:
    """The asset's own name, or that of the function where it makes several or is a check."""
    keys = list(asset.keys)
    checks = list(asset.check_specs)
    if len(keys) == 1:
        return _name(keys[0])
    return f"check {checks[0].name}" if len(checks) == 1 and not keys else asset.node_def.name


def _name(key: AssetKey) -> str:
    return key.to_user_string()
