"""What the verifier sees of an orchestrator: stages, edges between them, and what was already wrong while reading them.

What belongs here: plain values. What stays out: Dagster, which `dagster_graph.py` reads them from.
"""

from dataclasses import dataclass
from typing import Any

from geo_platform.contracts.fault import Fault


@dataclass(frozen=True)
class Stage:
    """One asset, and the type of what it makes; `type(None)` where it hands nothing on."""

    name: str
    makes: Any


@dataclass(frozen=True)
class Edge:
    """A value goes from one stage to another: the annotations of both ends, `Any` where there is none."""

    producer: str
    consumer: str
    given: Any
    taken: Any


@dataclass(frozen=True)
class StageGraph:
    stages: tuple[Stage, ...]
    edges: tuple[Edge, ...]
    faults: tuple[Fault, ...] = ()
