"""Rows as they come from a source, with their positions: what the readers hand to cleaning."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa


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
