"""Verify, while definitions load, that every stage accepts what the stages before it produce.

The rules are in `compatibility.py` and `lock.py`. Dagster is read by `dagster_graph.py` and
`dagster_config.py`, which are imported only when the verifier runs.
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
    """Return the definitions if every stage fits the next.

    `lock_path` is the path of `contracts.lock.json`. Without it, message shapes are not checked.

    Raises ContractError: with every fault, one line each.
    """
    found = definition_faults(definitions, lock_path=lock_path)
    if found:
        raise ContractError(found)
    return definitions


def definition_faults(definitions: "Definitions", *, lock_path: Path | None = None) -> list[Fault]:
    """Return every fault of the definitions: edges, undefined assets, run config and lock."""
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
    """Return the faults of one edge, located between its stages."""
    found = faults(edge.given, edge.taken)
    if _is_message(edge.given) and _is_message(edge.taken):
        found = [*_identity_faults(edge.given, edge.taken), *found]
    return [fault.between(producer=edge.producer, consumer=edge.consumer) for fault in found]


def _identity_faults(given: type[Message], taken: type[Message]) -> list[Fault]:
    # A message is stored under its name and version, and loaded only under these (`stored.py`).
    gives, takes = (f"{side.__name__} version {side.schema_version}" for side in (given, taken))
    return [] if gives == takes else [Fault(FaultKind.message_identity, gives, takes)]


def messages_of(graph: StageGraph) -> list[type[Message]]:
    """Return the message classes that the stages produce or read, each once."""
    annotations = [stage.makes for stage in graph.stages] + [
        side for edge in graph.edges for side in (edge.given, edge.taken)
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
            type_name(stage.makes),
            stage.makes.schema_version if _is_message(stage.makes) else None,
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
