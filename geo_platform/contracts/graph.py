"""The graph of stages that the verifier checks, as plain values.

A module of its own so that `verify.py` does not import Dagster; `dagster_graph.py` reads the graph.
"""

from dataclasses import dataclass
from typing import Any

from geo_platform.contracts.fault import Fault


@dataclass(frozen=True)
class GraphNode:
    """An asset and the type of its value; `type(None)` if it returns none."""

    name: str
    makes: Any


@dataclass(frozen=True)
class Edge:
    """A value passed between two stages, with the annotations of both; `Any` if there is none."""

    producer: str
    consumer: str
    given: Any
    taken: Any


@dataclass(frozen=True)
class StageGraph:
    """Stages, the edges between them, and the faults found while reading them."""

    stages: tuple[GraphNode, ...]
    edges: tuple[Edge, ...]
    faults: tuple[Fault, ...] = ()
