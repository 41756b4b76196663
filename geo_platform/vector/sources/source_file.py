"""A source as a plain readable file, for the readers that are not GDAL's (pyarrow's CSV and Parquet).

What belongs here: a path of ours, in an archive or not, as an open file. What stays out: formats.

Whether a file is whole, where its driver would read a truncated one as a shorter one without a word.

GDAL 3.12 gives null geometries for a cut shapefile, fewer rows for a cut GML or FlatGeobuf, and skips a cut last line.
What belongs here: cheap looks at the two ends of a file. What stays out: archives, which have checksums.
"""

import json
import re
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.errors import SourceTruncated, SourceUnreadable
from geo_platform.source.openable import OpenableSource

_TAIL_BYTES = 64 * 1024
_DBF_HEADER_BYTES = 32
_ROOT = re.compile(rb"<\s*([A-Za-z_][\w.\-]*(?::[A-Za-z_][\w.\-]*)?)[\s>/]")
# Formats whose own count of rows must be met when all of them are read. GeoPackage's may be stale.
COUNT_IS_BINDING = (
    SourceFormat.shapefile,
    SourceFormat.flatgeobuf,
    SourceFormat.file_geodatabase,
    SourceFormat.geoparquet,
)


def check_whole(source: OpenableSource) -> None:
    """Raises SourceTruncated."""
    if not is_plain_file(source):
        return
    path = Path(source.gdal_path)
    if source.format is SourceFormat.shapefile and path.suffix.lower() == ".shp":
        _check_shapefile(path, source.display_name)
    elif source.format is SourceFormat.gml:
        _check_xml(path, source.display_name)
    elif source.format is SourceFormat.geojson_lines:
        _check_last_line(path, source.display_name)


def _check_shapefile(path: Path, display_name: str) -> None:
    """ESRI Shapefile Technical Description, table 1: byte 24, big endian, the length in 16-bit words."""
    header = _head(path, 100)
    size = path.stat().st_size
    if len(header) < 100:
        raise SourceTruncated(f"{display_name} is shorter than a shapefile's header.")
    stated = struct.unpack(">i", header[24:28])[0] * 2
    if size < stated:
        raise SourceTruncated(
            f"{display_name} says that it has {stated:,} bytes, but has {size:,}."
        )
    _check_index(path.with_suffix(".shx"), display_name)
    table = path.with_suffix(".dbf")
    if table.exists() and table.stat().st_size < _DBF_HEADER_BYTES:
        raise SourceTruncated(
            f"The attribute table (.dbf) of {display_name} ends inside its header."
        )


def _check_index(path: Path, display_name: str) -> None:
    """Its header is that of the .shp (table 1), with a length of its own."""
    header = _head(path, 100) if path.exists() else b""
    if len(header) < 100 or path.stat().st_size < struct.unpack(">i", header[24:28])[0] * 2:
        raise SourceTruncated(f"The index (.shx) of {display_name} ends too early.")


def _head(path: Path, size_bytes: int) -> bytes:
    with path.open("rb") as stream:
        return stream.read(size_bytes)


def _tail(path: Path) -> bytes:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return stream.read()


def _check_xml(path: Path, display_name: str) -> None:
    with path.open("rb") as stream:
        head = stream.read(_TAIL_BYTES)
    root = _ROOT.search(
        re.sub(rb"<!--.*?-->|<\?.*?\?>|<!DOCTYPE[^>]*>", b"", head, flags=re.DOTALL)
    )
    if (
        root is not None
        and b"\0" not in head
        and not re.search(rb"</\s*" + re.escape(root.group(1)) + rb"\s*>", _tail(path))
    ):
        raise SourceTruncated(f"{display_name} does not end with its closing tag.")


def _check_last_line(path: Path, display_name: str) -> None:
    tail = _tail(path).rstrip(b"\r\n \t\0")
    last = re.split(rb"[\n\x1e]", tail)[-1]
    if len(last) >= _TAIL_BYTES - 16:
        if not last.endswith(b"}"):
            raise SourceTruncated(f"The last line of {display_name} is cut off.")
        return
    try:
        json.loads(last)
    except ValueError as error:
        raise SourceTruncated(f"The last line of {display_name} is cut off.") from error


_IN_ZIP = "/vsizip/{"


@contextmanager
def open_bytes(source: OpenableSource) -> Iterator[IO[bytes]]:
    """The bytes of a source. Raises SourceUnreadable, SourceTruncated (an archive's own checksum did not hold)."""
    try:
        if source.gdal_path.startswith(_IN_ZIP):
            archive, _, member = source.gdal_path[len(_IN_ZIP) :].rpartition("}/")
            with zipfile.ZipFile(archive) as opened, opened.open(member) as stream:
                yield stream
        else:
            with Path(source.gdal_path).open("rb") as stream:
                yield stream
    except zipfile.BadZipFile as error:
        raise SourceTruncated(
            f"The archive that holds {source.display_name} is damaged."
        ) from error
    except (KeyError, OSError) as error:
        raise SourceUnreadable(f"{source.display_name} cannot be read.") from error


def is_plain_file(source: OpenableSource) -> bool:
    return not source.gdal_path.startswith("/vsi") and Path(source.gdal_path).is_file()
