"""GeoParquet 1.1 metadata. Source: https://geoparquet.org/releases/v1.1.0/

What belongs here: the `geo` key and the file's schema, pure. What stays out: writing and reading files.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyproj import CRS

from geo_platform.ports import FeatureTarget

BBOX_COLUMN = "bbox"
GEOPARQUET_VERSION = "1.1.0"
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_TYPE_NAMES = ("Point", "LineString", "LinearRing", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection")


def bbox_type() -> pa.StructType:
    """The covering: one box per row, 32-bit."""
    return pa.struct([pa.field(corner, pa.float32(), nullable=False) for corner in _CORNERS])


def geo_metadata(
    target: FeatureTarget, types: Iterable[tuple[int, bool]], bounds: npt.NDArray[np.float64], z_range: Sequence[float]
) -> dict[str, Any]:
    """The value of the `geo` key. `types` are (shapely type id, has Z) as they occur."""
    low, high = [float(value) for value in bounds[:2]], [float(value) for value in bounds[2:]]
    if z_range[0] <= z_range[1]:
        low, high = [*low, z_range[0]], [*high, z_range[1]]
    column = {
        "encoding": "WKB",
        "geometry_types": sorted(_TYPE_NAMES[kind] + (" Z" if z else "") for kind, z in types),
        "crs": CRS.from_wkt(target.crs.wkt).to_json_dict(),
        "edges": "planar",
        "bbox": low + high,
        "covering": {"bbox": {corner: [BBOX_COLUMN, corner] for corner in _CORNERS}},
    }
    return {"version": GEOPARQUET_VERSION, "primary_column": target.geometry_column, "columns": {target.geometry_column: column}}


def file_schema(
    target: FeatureTarget, types: Iterable[tuple[int, bool]], bounds: npt.NDArray[np.float64], z_range: Sequence[float]
) -> pa.Schema:
    """The target's columns, then the boxes, with the metadata that readers look for."""
    geo = geo_metadata(target, types, bounds, z_range)
    own = {f"geo_platform:{key}": value for key, value in {**target.metadata, "fingerprint": target.fingerprint}.items()}
    metadata = {"geo": json.dumps(geo, separators=(",", ":")), **own}
    return target.schema.append(pa.field(BBOX_COLUMN, bbox_type(), nullable=False)).with_metadata(metadata)
