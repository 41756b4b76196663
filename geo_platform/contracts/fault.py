"""What is wrong between two stages, as one value and one line: `Fault`, `FaultKind`, `ContractError`.

What belongs here: naming a fault and saying it. What stays out: finding one (`compatibility.py`, `verify.py`,
`lock.py`, `dagster_*.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

NOTHING = "nothing"


class FaultKind(StrEnum):
    """The kinds of faults, each as it is printed. Their rules: docs/contracts.md."""

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
    """One fault. `field` is a dotted path (`bands[].nodata`), empty where the value as a whole is meant.

    The types are empty where a sentence of the note says more, as with run config that Dagster refused.
    """

    kind: FaultKind
    producer_type: str
    consumer_type: str
    producer: str = ""
    consumer: str = ""
    field: str = ""
    note: str = ""

    def between(self, *, producer: str, consumer: str) -> Self:
        """The same fault on the edge from one stage to the other."""
        return replace(self, producer=producer, consumer=consumer)

    def inside(self, prefix: str) -> Self:
        """The same fault seen from the record, list or mapping that holds the value."""
        return replace(self, field=_join(prefix, self.field))

    def __str__(self) -> str:
        where = f"{self.producer} -> {self.consumer}: " if self.producer or self.consumer else ""
        field = f" `{self.field}`" if self.field else ""
        types = (
            f"producer gives {self.producer_type}, consumer takes {self.consumer_type}"
            if self.producer_type
            else ""
        )
        said = f"{types} ({self.note})" if types and self.note else types or self.note
        return f"{where}{self.kind}{field}: {said}"


def _join(prefix: str, path: str) -> str:
    return f"{prefix}{path}" if not path or path.startswith("[") else f"{prefix}.{path}"


class ContractError(Exception):
    """Stages that do not fit together. `faults` holds every fault found, a line each in the message."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        count = (
            "1 contract fault" if len(self.faults) == 1 else f"{len(self.faults)} contract faults"
        )
        super().__init__("\n".join([f"{count}:", *(f"  {fault}" for fault in self.faults)]))

    def __reduce__(self) -> tuple[type["ContractError"], tuple[tuple[Fault, ...]]]:
        return ContractError, (self.faults,)
