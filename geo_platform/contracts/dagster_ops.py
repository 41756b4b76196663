"""Read the edges inside op graphs, and the annotations of inputs and outputs.

Only public attributes of Dagster's definitions are used. Dagster resolves annotations itself
(`-> Output[A]`, `-> MaterializeResult[A]`, `In(A)` all give `A`), so no signature is parsed here.
"""

from collections.abc import Iterator
from types import GenericAlias
from typing import Any

from dagster import DagsterType, GraphDefinition, JobDefinition, OpDefinition

from geo_platform.contracts.graph import Edge

_Node = OpDefinition | GraphDefinition
NoValue = type(None)


def annotation_of(dagster_type: DagsterType) -> Any:
    """Return the Python type of a Dagster type, or the Dagster type itself if it has none."""
    typing_type = dagster_type.typing_type
    return dagster_type if typing_type is Any and dagster_type.kind.name != "ANY" else typing_type


def output_annotation(node: object, output: str) -> Any:
    """Return the type of an output, read from its op; `type(None)` if it carries no value."""
    node = _op_or_graph(node)
    if isinstance(node, GraphDefinition):
        mapping = node.get_output_mapping(output)
        return output_annotation(
            _child(node, mapping.maps_from.node_name), mapping.maps_from.output_name
        )
    return annotation_of(node.output_def_named(output).dagster_type)


def input_annotations(node: object, name: str) -> list[Any]:
    """Return the types of an input, one for each op that reads it; empty if it takes no value."""
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
    """Yield every edge of the graph and of the graphs in it.

    Fan-in and collected outputs arrive as a list.
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
                given = output_annotation(_child(graph, output.node_name), output.output_name)
                for taken in input_annotations(definition, node_input.input_name):
                    yield Edge(
                        f"{path}.{output.node_name}",
                        consumer,
                        _list_of(given) if is_collected else given,
                        taken,
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
