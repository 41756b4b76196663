"""Encode features as a layer of a vector tile, until the tile is full.

Geometries are in the units of the tile: x to the right, y down, 0 to EXTENT inside the tile.

Source: Mapbox Vector Tile Specification 2.1, https://github.com/mapbox/vector-tile-spec

Called by `merged.py` and `tiles.py`.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

EXTENT = 4096
POINT, LINE, POLYGON = 1, 2, 3
_MOVE_TO, _LINE_TO, _CLOSE_PATH = 1, 2, 7
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_ONE_BYTE = [bytes([number]) for number in range(128)]


@dataclass
class TileLayer:
    """A layer that takes features as long as it has at most `max_bytes`."""

    name: str
    keys: Sequence[str]
    max_bytes: int
    drawn: int = 0
    _features: list[bytes] = field(default_factory=list)
    _values: dict[bytes, int] = field(default_factory=dict)
    _bytes: int = 0

    def __post_init__(self) -> None:
        self._head = _field(1, self.name.encode())
        self._tail = b"".join(_field(3, key.encode()) for key in self.keys)
        self._tail += _integer(5, EXTENT) + _integer(15, 2)
        # Room for the tag and the length of the layer itself.
        self._bytes = len(self._head) + len(self._tail) + 12

    @property
    def free_bytes(self) -> int:
        return self.max_bytes - self._bytes

    def add(self, key: int, values: Sequence[bytes | None], kind: int, geometry: bytes) -> bool:
        """Add a feature and return True, or return False if it does not fit.

        `values` belong to `keys`, as `value_of` encodes them. `geometry` is one of `geometries`.
        """
        tags = bytearray()
        new: list[bytes] = []
        for number, value in enumerate(values):
            if value is None:
                continue
            place = self._values.get(value)
            if place is None:
                place = len(self._values) + len(new)
                if value in new:
                    place = len(self._values) + new.index(value)
                else:
                    new.append(value)
            tags += varint(number) + varint(place)
        content = (
            (_integer(1, key) if key >= 0 else b"")
            + (_field(2, bytes(tags)) if tags else b"")
            + _integer(3, kind)
            + _field(4, geometry)
        )
        feature = _field(2, content)
        size = len(feature) + sum(len(_field(4, value)) for value in new)
        if size > self.free_bytes:
            return False
        self._bytes += size
        self._features.append(feature)
        for value in new:
            self._values[value] = len(self._values)
        self.drawn += 1
        return True

    def encoded(self) -> bytes:
        """Return the layer as a part of a tile, which layers make by being joined.

        A layer without features is left out: nothing.
        """
        if not self._features:
            return b""
        values = b"".join(_field(4, value) for value in self._values)
        return _field(3, self._head + b"".join(self._features) + values + self._tail)


def value_of(value: Any) -> bytes:
    """Return a value of a property: bool, int, float (64 bits), np.float32 or str."""
    if isinstance(value, bool):
        return _integer(7, int(value))
    if isinstance(value, int):
        return _integer(5, value) if value >= 0 else _integer(6, -2 * value - 1)
    if isinstance(value, np.float32):
        return bytes([2 << 3 | _FIXED_32]) + struct.pack("<f", value)
    if isinstance(value, float):
        return bytes([3 << 3 | _FIXED_64]) + struct.pack("<d", value)
    return _field(1, str(value).encode())


def varint(number: int) -> bytes:
    """Return an unsigned integer in as few bytes as possible."""
    if number < 128:
        return _ONE_BYTE[number]
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def geometries(shapes: "np.ndarray[Any, Any]", kind: int) -> list[bytes]:
    """Return the commands of each geometry. All have integer coordinates, and are of one kind.

    `kind` is POINT, LINE or POLYGON; polygons are oriented as the specification demands.
    """
    if len(shapes) == 0:
        return []
    parts, feature_of_part = shapely.get_parts(shapes, return_index=True)
    if kind == POLYGON:
        parts, part_of_ring = shapely.get_rings(
            shapely.orient_polygons(parts, exterior_cw=False), return_index=True
        )
        feature_of_part = feature_of_part[part_of_ring]
    if kind == POINT:
        # All points of a feature are one path.
        coordinates, part_of = shapely.get_coordinates(parts, return_index=True)
        path_of = feature_of_part[part_of]
        feature_of_path = np.arange(len(shapes))
    else:
        coordinates, path_of = shapely.get_coordinates(parts, return_index=True)
        feature_of_path = feature_of_part
        if kind == POLYGON:
            # The last point of a ring is the first one, which ClosePath draws.
            is_last = np.append(path_of[1:] != path_of[:-1], True)
            coordinates, path_of = coordinates[~is_last], path_of[~is_last]
    return _commands(coordinates, path_of, feature_of_path, len(shapes), kind)


def _commands(
    coordinates: Any, path_of: Any, feature_of_path: Any, features: int, kind: int
) -> list[bytes]:
    points = np.rint(coordinates).astype(np.int64)
    feature_of = feature_of_path[path_of]
    steps = np.diff(points, axis=0, prepend=np.zeros((1, 2), np.int64))
    first_of_feature = np.append(True, feature_of[1:] != feature_of[:-1])
    steps[first_of_feature] = points[first_of_feature]
    zigzag = np.where(steps >= 0, 2 * steps, -2 * steps - 1)
    counts = np.bincount(path_of, minlength=len(feature_of_path))
    in_path = np.arange(len(points)) - np.repeat(np.cumsum(counts) - counts, counts)
    if kind == POINT:
        sizes = 1 + 2 * counts
        offsets = 1 + 2 * in_path
    else:
        sizes = 4 + 2 * (counts - 1) + (kind == POLYGON)
        offsets = np.where(in_path == 0, 1, 4 + 2 * (in_path - 1))
    starts = np.cumsum(sizes) - sizes
    integers = np.zeros(int(sizes.sum()), np.int64)
    integers[starts] = (counts if kind == POINT else 1) << 3 | _MOVE_TO
    if kind != POINT:
        integers[starts + 3] = (counts - 1) << 3 | _LINE_TO
    if kind == POLYGON:
        integers[starts + sizes - 1] = 1 << 3 | _CLOSE_PATH
    places = starts[path_of] + offsets
    integers[places], integers[places + 1] = zigzag[:, 0], zigzag[:, 1]
    content, ends = _varints(integers)
    integers_of_feature = np.bincount(feature_of_path, weights=sizes, minlength=features)
    last = np.cumsum(integers_of_feature).astype(np.int64)
    cuts = np.append(0, ends[last - 1])
    return [content[cuts[n] : cuts[n + 1]] for n in range(features)]


def _varints(integers: Any) -> tuple[bytes, Any]:
    """Return the integers as varints, and where each ends."""
    lengths = 1 + sum((integers >= 1 << bits).astype(np.int64) for bits in (7, 14, 21, 28))
    ends = np.cumsum(lengths)
    starts = ends - lengths
    out = np.zeros(int(ends[-1]), np.uint8)
    for number in range(5):
        has_byte = lengths > number
        group = integers[has_byte] >> (7 * number) & 127
        more = np.where(lengths[has_byte] > number + 1, 128, 0)
        out[starts[has_byte] + number] = group | more
    return out.tobytes(), ends


def _field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | _BYTES) + varint(len(content)) + content


def _integer(number: int, value: int) -> bytes:
    return varint(number << 3 | _VARINT) + varint(value)
