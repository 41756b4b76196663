"""Recognise vector formats by magic number: Shapefile, FlatGeobuf, OSM PBF, GeoParquet.

Called by `content_format.py`.
"""

import struct
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.errors import NoGeometry, SourceTruncated, SourceUnreadable, UnsupportedFormat
from geo_platform.source.content import Content

_SHAPE_TYPES = frozenset({0, 1, 3, 5, 8, 11, 13, 15, 18, 21, 23, 25, 28, 31})
_SHAPE_FILE_CODE = struct.pack(">I", 9994)
_FIRST_RECORD_OF_INDEX = struct.pack(">I", 50)
_MAX_FOOTER_BYTES = 256 * 1024 * 1024
_SUBMIT_ALL_PARTS = (
    "Submit .shp, .shx, .dbf and .prj together: in one folder or, better, in one zip."
)


def shapefile(content: Content, head: bytes, sidecars: Sequence[str] | None) -> SourceFormat | None:
    """Recognise the main file of a Shapefile by its header (ESRI white paper, 1998).

    A .shx has the same header, but its first record begins with 50, an offset in words. `sidecars`
    are the names of the other parts, which must include .shx and .dbf. If the names are not known,
    pass None; the parts are then not checked.

    Raises SourceTruncated, SourceUnreadable: the header is damaged, or a part is missing.
    Raises UnsupportedFormat: the file is the index (.shx) of a Shapefile.
    """
    if not head.startswith(_SHAPE_FILE_CODE):
        return None
    if len(head) < 100:
        raise SourceTruncated(
            f"{content.name!r} begins like a Shapefile but ends inside its header."
        )
    words, version, shape_type = (
        struct.unpack_from(">I", head, 24)[0],
        *struct.unpack_from("<II", head, 28),
    )
    if version != 1000 or shape_type not in _SHAPE_TYPES:
        raise SourceUnreadable(
            f"{content.name!r} begins like a Shapefile, but its version {version} or shape type "
            f"{shape_type} is unknown."
        )
    if head[100:104] == _FIRST_RECORD_OF_INDEX or content.name.lower().endswith(".shx"):
        raise UnsupportedFormat(
            f"{content.name!r} is the index (.shx) of a Shapefile.", remedy=_SUBMIT_ALL_PARTS
        )
    if words * 2 > content.size_bytes:
        raise SourceTruncated(
            f"The Shapefile {content.name!r} is {content.size_bytes} bytes long; "
            f"its header gives {words * 2}."
        )
    if sidecars is not None and not any(name.lower().endswith(".shx") for name in sidecars):
        raise SourceUnreadable(
            f"The index (.shx) of the Shapefile {content.name!r} is missing.",
            remedy=_SUBMIT_ALL_PARTS,
        )
    if sidecars is not None and not any(name.lower().endswith(".dbf") for name in sidecars):
        raise SourceUnreadable(
            f"The attribute table (.dbf) of the Shapefile {content.name!r} is missing.",
            remedy=_SUBMIT_ALL_PARTS,
        )
    return SourceFormat.shapefile


def flatgeobuf(content: Content, head: bytes) -> SourceFormat | None:
    """Recognise FlatGeobuf. Raises SourceTruncated: the file ends inside its header."""
    if not (head.startswith(b"fgb\x03fgb") and len(head) >= 8):
        return None
    if len(head) < 12 or 12 + struct.unpack_from("<I", head, 8)[0] > content.size_bytes:
        raise SourceTruncated(f"The FlatGeobuf {content.name!r} ends inside its header.")
    return SourceFormat.flatgeobuf


def osm_pbf(content: Content, head: bytes) -> SourceFormat | None:
    # The file begins with a length and a BlobHeader of the type OSMHeader.
    return SourceFormat.osm_pbf if head[4:15] == b"\x0a\x09OSMHeader" else None


def geoparquet(content: Content, head: bytes) -> SourceFormat | None:
    """Recognise GeoParquet. Only the footer is read.

    Raises NoGeometry: the file is Parquet without the metadata of GeoParquet.
    Raises SourceTruncated, SourceUnreadable: the footer is missing or damaged.
    Raises UnsupportedFormat: the file is inside an archive, or the footer is too long.
    """
    if not head.startswith(b"PAR1"):
        return None
    if content.is_packed:
        raise UnsupportedFormat(
            f"{content.name!r} is Parquet inside an archive.",
            remedy="Submit the Parquet file itself; it is compressed already.",
        )
    _check_footer(content)
    with content.as_file() as path:
        try:
            metadata = pq.read_metadata(path).metadata or {}
        except (pa.ArrowException, OSError) as error:
            raise SourceUnreadable(
                f"The footer of the Parquet file {content.name!r} cannot be read."
            ) from error
    if b"geo" not in metadata:
        raise NoGeometry(
            f"{content.name!r} is Parquet but not GeoParquet: its metadata has no key 'geo'.",
            remedy="Write it with a program that supports GeoParquet, or submit it as CSV.",
        )
    return SourceFormat.geoparquet


def _check_footer(content: Content) -> None:
    with content.open() as stream:
        stream.seek(max(0, content.size_bytes - 8))
        tail = stream.read(8)
    if content.size_bytes < 12 or tail[4:] != b"PAR1":
        raise SourceTruncated(f"The Parquet file {content.name!r} has no footer.")
    footer_bytes = struct.unpack("<I", tail[:4])[0]
    if footer_bytes + 12 > content.size_bytes:
        raise SourceTruncated(f"The Parquet file {content.name!r} is shorter than its own footer.")
    if footer_bytes > _MAX_FOOTER_BYTES:
        raise UnsupportedFormat(
            f"The footer of the Parquet file {content.name!r} is {footer_bytes} bytes long; "
            f"the limit is {_MAX_FOOTER_BYTES}."
        )
