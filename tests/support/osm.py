"""Write a tiny OpenStreetMap PBF file by hand: no installed library writes one.

Source: fileformat.proto and osmformat.proto, https://wiki.openstreetmap.org/wiki/PBF_Format
"""

import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

_NANODEGREES_PER_STEP = 100


def write_osm_pbf(
    path: Path,
    nodes: Sequence[tuple[int, float, float, str]],
    ways: Iterable[tuple[int, Sequence[int], str]] = (),
) -> Path:
    """Write a block of nodes and a block of ways.

    A node is (id, longitude, latitude, name), a way is (id, ids of nodes, highway).
    """
    ways = list(ways)
    texts = [
        "",
        "name",
        "highway",
        *sorted({name for *_, name in nodes} | {kind for *_, kind in ways}),
    ]
    header = _text(4, "OsmSchema-V0.6") + _text(4, "DenseNodes")
    node_group = b"".join(_bytes(1, _node(*node, texts)) for node in nodes)
    way_group = b"".join(_bytes(3, _way(*way, texts)) for way in ways)
    table = _bytes(1, b"".join(_text(1, text) for text in texts))
    blocks = [
        _blob("OSMData", table + _bytes(2, group)) for group in (node_group, way_group) if group
    ]
    path.write_bytes(_blob("OSMHeader", header) + b"".join(blocks))
    return path


def _node(number: int, longitude: float, latitude: float, name: str, texts: list[str]) -> bytes:
    tags = _packed(2, [texts.index("name")]) + _packed(3, [texts.index(name)]) if name else b""
    steps = [round(degrees * 1e9 / _NANODEGREES_PER_STEP) for degrees in (latitude, longitude)]
    return (
        _number(1, _zigzag(number))
        + tags
        + _number(8, _zigzag(steps[0]))
        + _number(9, _zigzag(steps[1]))
    )


def _way(number: int, refs: Sequence[int], highway: str, texts: list[str]) -> bytes:
    steps = [ref - before for ref, before in zip(refs, [0, *refs], strict=False)]
    tags = _packed(2, [texts.index("highway")]) + _packed(3, [texts.index(highway)])
    return _number(1, number) + tags + _packed(8, [_zigzag(step) for step in steps])


def _blob(kind: str, content: bytes) -> bytes:
    blob = _number(2, len(content)) + _bytes(3, zlib.compress(content))
    header = _text(1, kind) + _number(3, len(blob))
    return struct.pack(">I", len(header)) + header + blob


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    return bytes([*written, value])


def _zigzag(value: int) -> int:
    return value * 2 if value >= 0 else -value * 2 - 1


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode())


def _packed(field: int, values: Iterable[int]) -> bytes:
    return _bytes(field, b"".join(map(_varint, values)))
