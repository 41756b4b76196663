"""Open a source as a plain file, and check that a file is complete.

`open_bytes` and `plain_path` are for the readers that do not use GDAL. The check is needed
because GDAL 3.12 reads some truncated files without an error: it returns null geometries for a
Shapefile, fewer rows for GML or FlatGeobuf, and skips a truncated last line of GeoJSON lines. Files
in archives are not checked, because archives have checksums.

Used by `vector/sources` and `vector`.
"""

import json
import re
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.errors import SourceTruncated, SourceUnreadable
from geo_platform.source.formats import FORMATS
from geo_platform.source.openable import OpenableSource

# Formats whose declared number of rows is reliable: reading fewer rows is an error. The number that
# a GeoPackage declares can be outdated.
COUNT_IS_RELIABLE = (
    SourceFormat.shapefile,
    SourceFormat.flatgeobuf,
    SourceFormat.file_geodatabase,
    SourceFormat.geoparquet,
)
_IN_ZIP = "/vsizip/{"
_TAIL_BYTES = 64 * 1024
_SHP_HEADER_BYTES = 100
_DBF_HEADER_BYTES = 32
_MAX_FGB_HEADER_BYTES = 256 * 2**20
_FGB_LONG, _FGB_UNSIGNED_LONG = 7, 8
_ROOT_ELEMENT = re.compile(rb"<\s*([A-Za-z_][\w.\-]*(?::[A-Za-z_][\w.\-]*)?)[\s>/]")


@contextmanager
def open_bytes(source: OpenableSource) -> Iterator[IO[bytes]]:
    """Open the bytes of a source, also of a source in a zip archive.

    Raises SourceTruncated: the archive is damaged, or the bytes do not match its checksum.
    Raises SourceUnreadable: the file cannot be opened or read.
    """
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


def copy_beside(source: OpenableSource, *, suffix: str = "") -> Path:
    """Return the path for a copy of the source, in the private folder of the source.

    The copy has the name of the source, which can be the name of its layer.
    """
    place = source.gdal_path.removeprefix(_IN_ZIP).partition("}/")[0]
    folder = Path(place).parent / f"copy{suffix}"
    folder.mkdir(exist_ok=True)
    return folder / source.gdal_path.rsplit("/", 1)[-1]


@contextmanager
def plain_path(source: OpenableSource) -> Iterator[Path]:
    """Yield the path of a source as a plain file. A source in a zip archive is unpacked for it.

    Raises SourceTruncated, SourceUnreadable: as `open_bytes`.
    """
    if not source.gdal_path.startswith(_IN_ZIP):
        yield Path(source.gdal_path)
        return
    with tempfile.NamedTemporaryFile(suffix=Path(source.gdal_path).suffix) as unpacked:
        with open_bytes(source) as stream:
            shutil.copyfileobj(stream, unpacked)
        unpacked.flush()
        yield Path(unpacked.name)


@contextmanager
def open_part(source: OpenableSource, layer: str, suffix: str) -> Iterator[IO[bytes] | None]:
    """Open a file beside the source, or beside the layer of a folder; give None if there is none.

    In an archive, letter case does not matter. Outside, `source/` gave the file its name.
    Raises SourceTruncated: the archive is damaged.
    """
    if not source.gdal_path.startswith(_IN_ZIP):
        path = Path(source.gdal_path)
        path = path / f"{layer}{suffix}" if path.is_dir() else path.with_suffix(suffix)
        if not path.is_file():
            yield None
            return
        with path.open("rb") as stream:
            yield stream
        return
    archive, _, member = source.gdal_path.removeprefix(_IN_ZIP).partition("}")
    stem, dot, extension = member.lstrip("/").rpartition(".")
    if not dot or f".{extension.lower()}" not in FORMATS[source.format].extensions:
        stem = f"{member}/{layer}".lstrip("/")
    try:
        with zipfile.ZipFile(archive) as opened:
            part = (stem + suffix).casefold()
            name = next((name for name in opened.namelist() if name.casefold() == part), None)
            if name is None:
                yield None
                return
            with opened.open(name) as stream:
                yield stream
    except zipfile.BadZipFile as error:
        raise SourceTruncated(
            f"The archive that holds {source.display_name} is damaged."
        ) from error


def with_signed_integers(source: OpenableSource) -> tuple[OpenableSource, frozenset[str]]:
    """Return a FlatGeobuf source whose unsigned 64-bit columns are declared as signed.

    GDAL 3.12 reads unsigned integers of 64 bits as doubles, which keep 53 bits. The names of these
    columns are returned too; the source is a copy if there are any. In the header of a FlatGeobuf
    (https://github.com/flatgeobuf/flatgeobuf, header.fbs), `columns` is field 7, and in a column
    `name` is field 0 and `type` field 1.
    Raises SourceTruncated, SourceUnreadable: the file cannot be read.
    """
    if source.format is not SourceFormat.flatgeobuf:
        return source, frozenset()
    with open_bytes(source) as stream:
        start = stream.read(12)
        size = int.from_bytes(start[8:12], "little")
        header = bytearray(stream.read(min(size, _MAX_FGB_HEADER_BYTES)))
        names = _declare_signed(header)
        if not names:
            return source, frozenset()
        path = copy_beside(source, suffix=".signed")
        with path.open("wb") as copy:
            copy.write(start)
            copy.write(header)
            shutil.copyfileobj(stream, copy)
    return replace(source, gdal_path=str(path)), names


def _declare_signed(header: bytearray) -> frozenset[str]:
    names = set()
    try:
        columns = _fgb_field(header, struct.unpack_from("<I", header)[0], 7)
        if columns is None:
            return frozenset()
        vector = columns + struct.unpack_from("<I", header, columns)[0]
        for number in range(struct.unpack_from("<I", header, vector)[0]):
            entry = vector + 4 + 4 * number
            column = entry + struct.unpack_from("<I", header, entry)[0]
            kind, name = _fgb_field(header, column, 1), _fgb_field(header, column, 0)
            if kind is None or name is None or header[kind] != _FGB_UNSIGNED_LONG:
                continue
            text = name + struct.unpack_from("<I", header, name)[0]
            length = struct.unpack_from("<I", header, text)[0]
            header[kind] = _FGB_LONG
            names.add(header[text + 4 : text + 4 + length].decode("utf-8", "replace"))
    except (struct.error, IndexError):
        # GDAL reports a damaged header.
        return frozenset()
    return frozenset(names)


def _fgb_field(header: bytearray, table: int, number: int) -> int | None:
    """Return the position of a field of a FlatBuffers table, or None if the table has it not."""
    directory = table - struct.unpack_from("<i", header, table)[0]
    if 4 + 2 * number >= struct.unpack_from("<H", header, directory)[0]:
        return None
    offset = struct.unpack_from("<H", header, directory + 4 + 2 * number)[0]
    return table + offset if offset else None


def check_not_truncated(source: OpenableSource) -> None:
    """Check that a Shapefile, GML file or GeoJSON-lines file is complete. Ignore other formats.

    Raises SourceTruncated: the file ends too early.
    """
    if not _is_plain_file(source):
        return
    path = Path(source.gdal_path)
    if source.format is SourceFormat.shapefile and path.suffix.lower() == ".shp":
        _check_shapefile(path, source.display_name)
    elif source.format is SourceFormat.gml:
        _check_xml(path, source.display_name)
    elif source.format is SourceFormat.geojson_lines:
        _check_last_line(path, source.display_name)


def _is_plain_file(source: OpenableSource) -> bool:
    return not source.gdal_path.startswith("/vsi") and Path(source.gdal_path).is_file()


def _check_shapefile(path: Path, display_name: str) -> None:
    header = _head(path, _SHP_HEADER_BYTES)
    size = path.stat().st_size
    if len(header) < _SHP_HEADER_BYTES:
        raise SourceTruncated(f"{display_name} is shorter than a shapefile's header.")
    declared = _declared_bytes(header)
    if size < declared:
        raise SourceTruncated(f"{display_name} declares {declared:,} bytes, but has {size:,}.")
    _check_index(path.with_suffix(".shx"), display_name)
    table = path.with_suffix(".dbf")
    if table.exists() and table.stat().st_size < _DBF_HEADER_BYTES:
        raise SourceTruncated(
            f"The attribute table (.dbf) of {display_name} ends inside its header."
        )


def _check_index(path: Path, display_name: str) -> None:
    header = _head(path, _SHP_HEADER_BYTES) if path.exists() else b""
    if len(header) < _SHP_HEADER_BYTES or path.stat().st_size < _declared_bytes(header):
        raise SourceTruncated(f"The index (.shx) of {display_name} ends too early.")


def _declared_bytes(header: bytes) -> int:
    # The header of .shp and .shx files: byte 24, big-endian, the length in 16-bit words.
    # ESRI Shapefile Technical Description, table 1.
    return int(struct.unpack(">i", header[24:28])[0]) * 2


def _check_xml(path: Path, display_name: str) -> None:
    with path.open("rb") as stream:
        head = stream.read(_TAIL_BYTES)
    root = _ROOT_ELEMENT.search(
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


def _head(path: Path, size_bytes: int) -> bytes:
    with path.open("rb") as stream:
        return stream.read(size_bytes)


def _tail(path: Path) -> bytes:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return stream.read()
