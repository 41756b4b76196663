"""Verify, while definitions load, that every stage accepts what the stages before it produce.

`compatibility.py` and `lock.py` have the rules. `dagster_graph.py` and `dagster_config.py` read the
Dagster definitions; they are imported only when the verifier runs, because they import Dagster.

Called by `__init__.py`, `cli/commands/contracts.py` and `definitions.py`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geo_platform.contracts.annotation import type_name
from geo_platform.contracts.compatibility import faults
from geo_platform.contracts.fault import ContractError, Edge, Fault, FaultKind, StageGraph
from geo_platform.contracts.lock import check_lock
from geo_platform.contracts.message import Message

if TYPE_CHECKING:
    from dagster import Definitions


def verify_definitions(
    definitions: "Definitions", *, lock_path: Path | None = None
) -> "Definitions":
    """Return the definitions if every stage accepts the values of the stages before it.

    `lock_path` is the path of `contracts.lock.json`. If it is None, the fields of messages are not
    compared with the lock.

    Raises ContractError: there are faults. The exception lists all of them.
    """
    found = definition_faults(definitions, lock_path=lock_path)
    if found:
        raise ContractError(found)
    return definitions


def definition_faults(definitions: "Definitions", *, lock_path: Path | None = None) -> list[Fault]:
    """Return every fault of the definitions: edges, undefined assets, run config and lock.

    Raises ContractError: `lock_path` is not a valid lock.
    """
    from geo_platform.contracts.dagster_config import config_faults
    from geo_platform.contracts.dagster_graph import read_graph

    graph = read_graph(definitions)
    found = [fault for edge in graph.edges for fault in edge_faults(edge)]
    found.extend(graph.faults)
    found.extend(config_faults(definitions))
    if lock_path is not None:
        found.extend(check_lock(lock_path, messages_of(graph)))
    return list(dict.fromkeys(found))


def edge_faults(edge: Edge) -> list[Fault]:
    """Return the faults of one edge, with the names of its stages."""
    found = faults(edge.producer_type, edge.consumer_type)
    if _is_message(edge.producer_type) and _is_message(edge.consumer_type):
        found = [*_identity_faults(edge.producer_type, edge.consumer_type), *found]
    return [fault.between(producer=edge.producer, consumer=edge.consumer) for fault in found]


def _identity_faults(producer_type: type[Message], consumer_type: type[Message]) -> list[Fault]:
    # A message is stored with its name and version, and loads only as the same (`stored.py`).
    produced, expected = (
        f"{message.__name__} version {message.schema_version}"
        for message in (producer_type, consumer_type)
    )
    if produced == expected:
        return []
    return [Fault(FaultKind.message_identity, produced, expected)]


def messages_of(graph: StageGraph) -> list[type[Message]]:
    """Return the message classes that the stages produce or read, without duplicates."""
    annotations = [stage.value_type for stage in graph.stages] + [
        annotation
        for edge in graph.edges
        for annotation in (edge.producer_type, edge.consumer_type)
    ]
    return [annotation for annotation in dict.fromkeys(annotations) if _is_message(annotation)]


def _is_message(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Message)


@dataclass(frozen=True)
class ContractRow:
    """One line of the overview: which stage produces which message, and who reads it."""

    stage: str
    message: str
    schema_version: int | None
    consumers: tuple[str, ...]


def contract_rows(definitions: "Definitions") -> list[ContractRow]:
    """Return a row for each asset, in the order of the definitions.

    `schema_version` is None if the value of the asset is not a `Message`.
    """
    from geo_platform.contracts.dagster_graph import read_graph

    graph = read_graph(definitions)
    readers: dict[str, list[str]] = {}
    for edge in graph.edges:
        readers.setdefault(edge.producer, []).append(edge.consumer)
    return [
        ContractRow(
            stage.name,
            type_name(stage.value_type),
            stage.value_type.schema_version if _is_message(stage.value_type) else None,
            tuple(dict.fromkeys(readers.get(stage.name, ()))),
        )
        for stage in graph.stages
    ]


def render_contracts(definitions: "Definitions") -> str:
    """Return the rows as a plain text table: stage, message, version, consumers."""
    rows = [("stage", "message", "version", "feeds")]
    for row in contract_rows(definitions):
        rows.append(
            (
                row.stage,
                row.message,
                str(row.schema_version or "-"),
                ", ".join(row.consumers) or "-",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    )
