"""The graph of stages that the verifier checks, and the faults that it finds.

This module does not import Dagster; `dagster_graph.py` reads the graph from Dagster definitions.

Used throughout the application.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

NOTHING = "nothing"


class FaultKind(StrEnum):
    """The kinds of faults. The values are printed; docs/contracts.md has the rules."""

    missing_field = "missing field"
    extra_field = "extra field"
    wrong_type = "wrong type"
    optional_into_required = "optional fed into required"
    narrowed_values = "narrowed values"
    no_annotation = "no annotation"
    message_identity = "another message"
    undefined_asset = "undefined asset"
    run_config = "run config does not fit"
    config_model = "config model does not fit"
    unresolved = "cannot be resolved"
    unreadable = "cannot be read"
    lock = "shape and schema_version disagree"


@dataclass(frozen=True)
class Fault:
    """One reason why a consumer does not accept the value of a producer.

    `producer` and `consumer` are names of stages. `field` is a dotted path (`bands[].nodata`),
    empty if the fault is in the whole value. The types are empty if `note` describes the fault
    alone, for example for run config that Dagster refused.
    """

    kind: FaultKind
    producer_type: str
    consumer_type: str
    producer: str = ""
    consumer: str = ""
    field: str = ""
    note: str = ""

    def between(self, *, producer: str, consumer: str) -> Self:
        """Return the same fault, with the names of its two stages."""
        return replace(self, producer=producer, consumer=consumer)

    def inside(self, prefix: str) -> Self:
        """Return the same fault, with `prefix` before its field."""
        return replace(self, field=_join(prefix, self.field))

    def __str__(self) -> str:
        where = f"{self.producer} -> {self.consumer}: " if self.producer or self.consumer else ""
        field = f" `{self.field}`" if self.field else ""
        types = (
            f"producer gives {self.producer_type}, consumer takes {self.consumer_type}"
            if self.producer_type
            else ""
        )
        text = f"{types} ({self.note})" if types and self.note else types or self.note
        return f"{where}{self.kind}{field}: {text}"


def _join(prefix: str, path: str) -> str:
    return f"{prefix}{path}" if not path or path.startswith("[") else f"{prefix}.{path}"


class ContractError(Exception):
    """Stages do not fit together, or a stored message or lock does not fit the code.

    `faults` has every fault; the text of the exception has one line per fault.
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        count = (
            "1 contract fault" if len(self.faults) == 1 else f"{len(self.faults)} contract faults"
        )
        super().__init__("\n".join([f"{count}:", *(f"  {fault}" for fault in self.faults)]))

    def __reduce__(self) -> tuple[type["ContractError"], tuple[tuple[Fault, ...]]]:
        return ContractError, (self.faults,)


@dataclass(frozen=True)
class GraphNode:
    """An asset and the type of its value; `type(None)` if it returns no value."""

    name: str
    value_type: Any


@dataclass(frozen=True)
class Edge:
    """A value that a producer stage passes to a consumer stage, with the annotations of both.

    The type is `Any` if there is no annotation.
    """

    producer: str
    consumer: str
    producer_type: Any
    consumer_type: Any


@dataclass(frozen=True)
class StageGraph:
    """Stages, the edges between them, and the faults found while reading them."""

    stages: tuple[GraphNode, ...]
    edges: tuple[Edge, ...]
    faults: tuple[Fault, ...] = ()
