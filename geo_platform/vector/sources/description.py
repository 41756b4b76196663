"""What a reader of one format tells the profile. Not a message: it lives within one stage.

Which layer is meant. Pure.

Rows as they come from a source, with their positions: what the readers hand to cleaning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from geo_platform.contracts.message import Finding
from geo_platform.contracts.vector import SourceField, VectorLayer
from geo_platform.errors import LayerAmbiguous, LayerNotFound, NoGeometry
from geo_platform.grid import Bounds


@dataclass(frozen=True)
class RowFault:
    """Why a row is rejected. `code` is stable, UPPER_SNAKE; `message` is for a person."""

    code: str
    message: str


@dataclass(frozen=True)
class SourceBatch:
    """Columns of the profile's fields, in its order, and the geometry as WKB beside them.

    `positions`: 0-based row numbers in the source. `faults`: by index in this batch, geometries that could not be
    read. `unread`: by row number, rows of which not even the columns could be read.
    """

    positions: npt.NDArray[np.int64]
    fields: pa.RecordBatch
    wkb: pa.Array
    faults: Mapping[int, RowFault] = field(default_factory=dict)
    unread: Mapping[int, RowFault] = field(default_factory=dict)
    linearised: int = 0


_SHOWN = 50


def choose_layer(
    layers: Sequence[VectorLayer], wanted: str | None, display_name: str
) -> VectorLayer:
    """The layer asked for, or the only one with geometry.

    Raises LayerNotFound, LayerAmbiguous, NoGeometry; each names the layers that are there.
    """
    names = _listed(layers)
    if wanted is not None:
        chosen = next((layer for layer in layers if layer.name == wanted), None)
        if chosen is None:
            raise LayerNotFound(
                f"{display_name} has no layer {wanted!r}. It has: {names}.",
                layers=[layer.name for layer in layers[:_SHOWN]],
            )
        if chosen.geometry_type is None:
            raise NoGeometry(
                f"Layer {wanted!r} of {display_name} is a table without geometry.",
                remedy="Choose a layer with geometry.",
            )
        return chosen
    spatial = [layer for layer in layers if layer.geometry_type is not None]
    if not spatial:
        raise NoGeometry(
            f"No layer of {display_name} has geometry. It has: {names or 'no layers'}.",
            remedy="Check the export.",
        )
    if len(spatial) > 1:
        raise LayerAmbiguous(
            f"{display_name} has {len(spatial)} layers with geometry: {_listed(spatial)}.",
            layers=[layer.name for layer in spatial[:_SHOWN]],
        )
    return spatial[0]


def _listed(layers: Sequence[VectorLayer]) -> str:
    text = ", ".join(repr(layer.name) for layer in layers[:_SHOWN])
    return text + (f" and {len(layers) - _SHOWN} more" if len(layers) > _SHOWN else "")


@dataclass(frozen=True)
class SourceDescription:
    """Facts about the chosen layer, before any rule about CRS or plausibility was put to them.

    `format_crs` is the CRS that the format's specification gives to every file, `declared_crs` what this file says.
    """

    driver: str
    layers: tuple[VectorLayer, ...]
    layer: str
    geometry_types: tuple[str, ...]
    feature_count: int | None
    declared_crs: str | None
    format_crs: str | None
    fields: tuple[SourceField, ...]
    geometry_column: str | None
    extent: Bounds | None
    encoding: str
    geometry_from: str = "geometry"
    lon_lat_columns: tuple[str, str] | None = None
    has_curves: bool = False
    warnings: tuple[Finding, ...] = field(default=())
