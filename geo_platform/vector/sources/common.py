"""Types that the readers of all formats return, and the choice of a layer.

Used by `vector/sources` and `vector`.
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

M_DROPPED = Finding(
    code="M_DROPPED", message="The geometries carry measures (M), which are dropped."
)
# Maximum number of layers listed in a message.
_MAX_LISTED = 50


@dataclass(frozen=True)
class SourceDescription:
    """Facts about the chosen layer, as read from the file and not yet checked.

    `declared_crs` is the CRS that the file states, or None. `stated_crs` has every CRS that rows
    state, if the reader knows them; it takes the place of `declared_crs`. `format_crs` is the CRS
    that the specification of the format gives to every file, or None. `extent` is the extent of all
    rows, if it is known; else `row_bounds` has xmin, ymin, xmax and ymax of each sampled row. Both
    are in the CRS of the source. `keeps_foreign_members` means that foreign members of GeoJSON
    features are fields, `numbers_as_text` names members of GeoJSON whose numbers or dates are read
    as text. `columns` lists every column of the file besides the geometry; None if those are the
    fields.
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
    encoding: str
    extent: Bounds | None = None
    row_bounds: npt.NDArray[np.float64] | None = None
    geometry_from: str = "geometry"
    lon_lat_columns: tuple[str, str] | None = None
    has_curves: bool = False
    stated_crs: tuple[str, ...] = ()
    keeps_foreign_members: bool = False
    numbers_as_text: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None
    warnings: tuple[Finding, ...] = field(default=())


@dataclass(frozen=True)
class RowFault:
    """Why a row is rejected. `code` never changes, in UPPER_SNAKE; `message` is for people."""

    code: str
    message: str


@dataclass(frozen=True)
class SourceBatch:
    """Rows as read: the fields in the order of the profile, and the geometry as WKB.

    `positions` are the row numbers in the source, from 0. `faults` has the unreadable geometries,
    by index in this batch. `unread` has the rows whose columns could not be read, by row number in
    the source; these rows are not in `fields` and `wkb`. `linearised` counts the curves that were
    replaced by line segments.
    """

    positions: npt.NDArray[np.int64]
    fields: pa.RecordBatch
    wkb: pa.Array
    faults: Mapping[int, RowFault] = field(default_factory=dict)
    unread: Mapping[int, RowFault] = field(default_factory=dict)
    linearised: int = 0


def choose_layer(
    layers: Sequence[VectorLayer], layer_name: str | None, display_name: str
) -> VectorLayer:
    """Return the layer named `layer_name`, or without a name the only layer with geometry.

    Raises LayerNotFound: no layer has this name.
    Raises LayerAmbiguous: several layers have geometry, and `layer_name` is None.
    Raises NoGeometry: the named layer has no geometry, or no layer has.
    """
    names = _listed(layers)
    if layer_name is not None:
        chosen = next((layer for layer in layers if layer.name == layer_name), None)
        if chosen is None:
            raise LayerNotFound(
                f"{display_name} has no layer {layer_name!r}. Its layers: {names}.",
                layers=[layer.name for layer in layers[:_MAX_LISTED]],
            )
        if chosen.geometry_type is None:
            raise NoGeometry(
                f"Layer {layer_name!r} of {display_name} is a table without geometry.",
                remedy="Choose a layer with geometry.",
            )
        return chosen
    spatial = [layer for layer in layers if layer.geometry_type is not None]
    if not spatial:
        raise NoGeometry(
            f"No layer of {display_name} has geometry. Its layers: {names or 'none'}.",
            remedy="Check the export.",
        )
    if len(spatial) > 1:
        raise LayerAmbiguous(
            f"{display_name} has {len(spatial)} layers with geometry: {_listed(spatial)}.",
            layers=[layer.name for layer in spatial[:_MAX_LISTED]],
        )
    return spatial[0]


def layer_name_of(display_name: str) -> str:
    """Return the stem of the file name, for a format without layer names."""
    return display_name.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]


def _listed(layers: Sequence[VectorLayer]) -> str:
    text = ", ".join(repr(layer.name) for layer in layers[:_MAX_LISTED])
    return text + (f" and {len(layers) - _MAX_LISTED} more" if len(layers) > _MAX_LISTED else "")
