"""Name unsupported formats for messages, and refuse text that makes GDAL pick a foreign driver.

GDAL lets each driver in turn examine the first bytes of a file. OGR's VRT driver accepts any text
that contains a VRT element, even in a CSV or a GeoJSON, and then reads the files named there (GDAL
3.12). Such elements are therefore refused anywhere in the head.

Called by `content_format.py` and `source/members.py`.
"""

import re

from geo_platform.errors import UnsupportedFormat
from geo_platform.source.content import Content

_FOREIGN_MARKER = re.compile(
    rb"<OGRVRT|<VRTDataset|<GDALTileIndex|<GDAL_WMS|<OGRWFS|<OGRCSW|<WMT_MS_Cap|<WMS_Cap|<WFS_Cap"
    rb"|<WCS_GDAL|<MRF_META|gdal_streamed_alg",
    re.IGNORECASE,
)

_ARCHIVES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"PK\x05\x06", "an empty zip archive"),
    (0, b"PK\x07\x08", "a split zip archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\x1f\x8b\x08", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ\0", "an xz archive"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (257, b"ustar", "a tar archive"),
)
_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF", "a PDF document"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5 or netCDF 4"),
    (0, b"CDF\x01", "netCDF"),
    (0, b"CDF\x02", "netCDF"),
    (0, b"GRIB", "GRIB"),
    (0, b"GIF8", "a GIF image"),
    (0, b"BM", "a BMP image"),
    (8, b"WEBP", "a WebP image"),
    (0, b"NITF", "NITF"),
    (0, b"msid", "MrSID"),
    (0, b"LASF", "a LAS point cloud"),
    (0, b"PMTiles", "a PMTiles tile set"),
    (0, b"AC10", "an AutoCAD drawing"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
    (0, b"ARROW1", "an Arrow file"),
    (0, b"PARE", "an encrypted Parquet file"),
    (0, b"\xd0\xcf\x11\xe0", "an old Office document"),
    (0, b"PG:", "the description of a database connection, which is never opened"),
    (0, b"MYSQL:", "the description of a database connection, which is never opened"),
    (0, b"WFS:", "the description of a web feature service, which is never opened"),
    (0, b"\xff\xfe", "text in UTF-16"),
    (0, b"\xfe\xff", "text in UTF-16"),
)
_DBASE_VERSIONS = frozenset({0x02, 0x03, 0x30, 0x31, 0x43, 0x83, 0x8B, 0xF5})


def archive_name(head: bytes) -> str | None:
    """Return the kind of archive that begins like this, or None."""
    return next((name for offset, magic, name in _ARCHIVES if head.startswith(magic, offset)), None)


def refuse_foreign_markers(content: Content, head: bytes) -> None:
    """Check that GeoJSON, CSV, KML or GML holds no text for which GDAL picks another driver.

    Raises UnsupportedFormat: the head holds such text.
    """
    marker = _FOREIGN_MARKER.search(head)
    if marker:
        text = marker.group().decode("ascii", "replace")
        raise UnsupportedFormat(
            f"{content.name!r} contains {text!r}, which makes GDAL open it as a "
            "virtual file and read the files that it names.",
            remedy="Remove that text from the beginning of the file.",
        )


def foreign_name(content: Content, head: bytes, text: str | None) -> str:
    """Return what the content seems to be, for an error message."""
    for offset, magic, name in (*_ARCHIVES, *_OTHERS):
        if head.startswith(magic, offset):
            return name
    if len(head) >= 32 and head[0] in _DBASE_VERSIONS and content.name.lower().endswith(".dbf"):
        return "the attribute table (.dbf) of a Shapefile"
    if text is not None:
        return "text, but not an ASCII grid, GeoJSON, KML or GML"
    return "of an unknown format"
