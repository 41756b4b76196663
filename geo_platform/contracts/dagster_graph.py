"""Read Dagster definitions as a graph of stages: assets, asset checks and their dependencies.

An edge is a value that one stage passes to another; edges inside op graphs are included.
`verify.py` checks the edges. This module uses only the public API of Dagster. It parses no
signatures, because Dagster resolves annotations: `-> Output[A]`, `-> MaterializeResult[A]` and
`In(A)` all give `A`.

If a definition has no annotation, metadata declares the type:

- `message_metadata(RasterProfiled)` declares the type of the value of an `AssetSpec`, or the type
  that the reader of an `AssetDep` expects.
- `config_metadata(raw_raster=RawRasterConfig)` declares the config models with which a sensor or
  schedule launches its job.

Both are ordinary Dagster metadata, which the UI shows.

Called by `dagster_config.py` and `verify.py`.
"""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from types import GenericAlias
from typing import Any

from dagster import (
    AssetKey,
    AssetsDefinition,
    AssetSpec,
    DagsterType,
    Definitions,
    GraphDefinition,
    JobDefinition,
    MetadataValue,
    OpDefinition,
    PythonArtifactMetadataValue,
    SourceAsset,
)
from pydantic import BaseModel

from geo_platform.contracts.fault import Edge, Fault, FaultKind, GraphNode, StageGraph

MESSAGE_KEY = "message"
CONFIG_PREFIX = "config:"


def message_metadata(message: type) -> dict[str, MetadataValue[Any]]:
    """Return metadata for an `AssetSpec` or an `AssetDep` whose value has this type."""
    return {MESSAGE_KEY: MetadataValue.python_artifact(message)}


def config_metadata(**models_by_op: type[BaseModel]) -> dict[str, MetadataValue[Any]]:
    """Return metadata for a sensor or schedule; `models_by_op` are the config models of the ops."""
    return {
        f"{CONFIG_PREFIX}{op}": MetadataValue.python_artifact(model)
        for op, model in models_by_op.items()
    }


def declared_message(metadata: Mapping[str, Any]) -> Any:
    """Return the declared type, or None if there is none.

    Raises ImportError, AttributeError: the declared type does not exist.
    """
    return _resolve(metadata.get(MESSAGE_KEY))


def declared_config(metadata: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (op, config model) in the order of declaration."""
    for key, value in metadata.items():
        if key.startswith(CONFIG_PREFIX):
            yield key.removeprefix(CONFIG_PREFIX), _resolve(value)


def _resolve(value: Any) -> Any:
    if isinstance(value, type):
        return value
    if not isinstance(value, PythonArtifactMetadataValue):
        return None
    # Imported by name, because Dagster keeps only the names of the module and the class in
    # metadata.
    return getattr(import_module(value.module), value.name)


_Node = OpDefinition | GraphDefinition
NoValue = type(None)


def annotation_of(dagster_type: DagsterType) -> Any:
    """Return the Python type of a Dagster type, or the Dagster type itself if it has none."""
    typing_type = dagster_type.typing_type
    return dagster_type if typing_type is Any and dagster_type.kind.name != "ANY" else typing_type


def output_annotation(node: object, output: str) -> Any:
    """Return the type of an output of an op or graph, or `type(None)` if it has no value."""
    node = _op_or_graph(node)
    if isinstance(node, GraphDefinition):
        mapping = node.get_output_mapping(output)
        return output_annotation(
            _child(node, mapping.maps_from.node_name), mapping.maps_from.output_name
        )
    return annotation_of(node.output_def_named(output).dagster_type)


def input_annotations(node: object, name: str) -> list[Any]:
    """Return the types of an input, one type per op that reads it; empty if it has no value."""
    node = _op_or_graph(node)
    if not isinstance(node, GraphDefinition):
        dagster_type = node.input_dict[name].dagster_type
        return [] if dagster_type.is_nothing else [annotation_of(dagster_type)]
    found: list[Any] = []
    for mapping in node.input_mappings:
        if mapping.graph_input_name == name:
            inner = input_annotations(
                _child(node, mapping.mapped_node_name), mapping.mapped_node_input_name
            )
            found.extend(inner if mapping.fan_in_index is None else map(_item_of, inner))
    return found


def graph_edges(graph: GraphDefinition, path: str) -> Iterator[Edge]:
    """Yield every edge of the graph and of the graphs inside it.

    The consumer of several outputs (fan-in, or dynamic outputs that are collected) gets a list.
    """
    structure = graph.dependency_structure
    for node in graph.nodes:
        definition = _child(graph, node.name)
        for node_input, outputs in structure.input_to_upstream_outputs_for_node(node.name).items():
            is_collected = structure.has_fan_in_deps(
                node_input
            ) or structure.has_dynamic_fan_in_dep(node_input)
            consumer = f"{path}.{node.name}({node_input.input_name})"
            for output in outputs:
                producer_type = output_annotation(
                    _child(graph, output.node_name), output.output_name
                )
                for consumer_type in input_annotations(definition, node_input.input_name):
                    yield Edge(
                        f"{path}.{output.node_name}",
                        consumer,
                        _list_of(producer_type) if is_collected else producer_type,
                        consumer_type,
                    )
        if isinstance(definition, GraphDefinition):
            yield from graph_edges(definition, f"{path}.{node.name}")


def job_edges(job: JobDefinition) -> Iterator[Edge]:
    """Yield the edges of a job that consists of ops."""
    yield from graph_edges(job.graph, job.name)


def _child(graph: GraphDefinition, name: str) -> _Node:
    return _op_or_graph(graph.node_named(name).definition)


def _op_or_graph(node: object) -> _Node:
    if not isinstance(node, OpDefinition | GraphDefinition):
        raise TypeError(f"expected an op or a graph, got {type(node).__name__}")
    return node


def _list_of(annotation: Any) -> Any:
    return GenericAlias(list, (annotation,))


def _item_of(annotation: Any) -> Any:
    arguments = getattr(annotation, "__args__", ())
    return arguments[0] if arguments else Any


def read_graph(definitions: Definitions) -> StageGraph:
    """Return the stages, the edges, and a fault for each reference to an undefined asset."""
    assets = [*(definitions.assets or ()), *(definitions.asset_checks or ())]
    computed = [asset for asset in assets if isinstance(asset, AssetsDefinition)]
    value_types: dict[AssetKey, Any] = {
        key: value_type for asset in assets for key, value_type in _produced_by(asset)
    }
    edges = [edge for asset in computed for edge in _edges_into(asset, value_types)]
    edges.extend(
        edge for asset in computed if asset.is_executable for edge in _declaration_edges(asset)
    )
    edges.extend(
        edge
        for job in definitions.jobs or ()
        if isinstance(job, JobDefinition) and not job.is_asset_job
        for edge in job_edges(job)
    )
    stages = tuple(GraphNode(_name(key), value_type) for key, value_type in value_types.items())
    faults = dict.fromkeys(fault for asset in assets for fault in _dangling(asset, value_types))
    return StageGraph(stages, tuple(edges), tuple(faults))


def _produced_by(asset: object) -> Iterator[tuple[AssetKey, Any]]:
    """Yield each asset key with the type of the value of the asset.

    The type is the annotation. If the asset returns nothing or is external, it is the type in the
    metadata.
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
            value_type = (
                output_annotation(asset.node_def, outputs[spec.key]) if spec.key in outputs else Any
            )
            yield (
                spec.key,
                (declared_message(spec.metadata) or value_type)
                if value_type in (Any, NoValue)
                else value_type,
            )


def _edges_into(asset: AssetsDefinition, value_types: Mapping[AssetKey, Any]) -> Iterator[Edge]:
    if not asset.is_executable:
        return
    reader = _consumer_name(asset)
    # Sorted, because Dagster returns the inputs in a varying order.
    for name, key in sorted(asset.keys_by_input_name.items()):
        if key in value_types:
            consumer = reader if name == key.path[-1] else f"{reader}({name})"
            for consumer_type in input_annotations(asset.node_def, name):
                yield Edge(_name(key), consumer, value_types[key], consumer_type)
    for spec in asset.specs:
        for dep in spec.deps:
            if (
                dep.asset_key in value_types
                and (expected := declared_message(dep.metadata)) is not None
            ):
                yield Edge(
                    _name(dep.asset_key), _name(spec.key), value_types[dep.asset_key], expected
                )
    if isinstance(asset.node_def, GraphDefinition):
        yield from graph_edges(asset.node_def, reader)


def _declaration_edges(asset: AssetsDefinition) -> Iterator[Edge]:
    """Yield an edge from the returned type to the declared type, if an asset has both.

    If the two types differ, the edge has a fault.
    """
    outputs = {key: name for name, key in asset.keys_by_output_name.items()}
    for spec in asset.specs:
        declared = declared_message(spec.metadata)
        returned = output_annotation(asset.node_def, outputs[spec.key])
        if declared is not None and returned not in (Any, NoValue):
            yield Edge(_name(spec.key), f"{_name(spec.key)}(metadata)", returned, declared)


def _dangling(asset: object, value_types: Mapping[AssetKey, Any]) -> Iterator[Fault]:
    """Yield a fault for each dependency on, and each check of, an undefined asset."""
    if not isinstance(asset, AssetsDefinition | AssetSpec):
        return
    specs = [asset] if isinstance(asset, AssetSpec) else list(asset.specs)
    references = [
        (dep.asset_key, _name(spec.key), "dependency") for spec in specs for dep in spec.deps
    ]
    if isinstance(asset, AssetsDefinition):
        for check in asset.check_specs:
            references.append((check.asset_key, f"check {check.name}", "checked asset"))
            references.extend(
                (dep.asset_key, f"check {check.name}", "dependency")
                for dep in check.additional_deps
            )
        named = {key for key, _, _ in references}
        inputs = asset.keys_by_input_name.values() if asset.is_executable else ()
        references.extend(
            (key, _consumer_name(asset), "dependency") for key in inputs if key not in named
        )
    for key, consumer, role in references:
        if key not in value_types:
            yield Fault(
                FaultKind.undefined_asset,
                "",
                "",
                _name(key),
                consumer,
                note=_undefined_note(key, role, value_types),
            )


def _undefined_note(key: AssetKey, role: str, value_types: Iterable[AssetKey]) -> str:
    close = get_close_matches(_name(key), [_name(other) for other in value_types], n=1)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    return f"{role} `{_name(key)}` is not defined{hint}"


def _consumer_name(asset: AssetsDefinition) -> str:
    """Return the name of the asset or check, or of the function if it has several assets."""
    keys = list(asset.keys)
    checks = list(asset.check_specs)
    if len(keys) == 1:
        return _name(keys[0])
    return f"check {checks[0].name}" if len(checks) == 1 and not keys else asset.node_def.name


def _name(key: AssetKey) -> str:
    return key.to_user_string()
