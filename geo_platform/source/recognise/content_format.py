"""Try the recognisers in order: binary formats first, then text. Refuse any other content.

Called by `source/members.py` and `source/sniff.py`.
"""

from collections.abc import Callable, Sequence

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.errors import SourceEmpty, UnsupportedFormat
from geo_platform.source.content import Content, head_of
from geo_platform.source.recognise import images, json_text, sqlite, text, tiff, vectors, xml_text
from geo_platform.source.recognise.foreign import foreign_name, refuse_foreign_markers

_BINARY: tuple[Callable[[Content, bytes], SourceFormat | None], ...] = (
    tiff.tiff,
    images.jpeg2000,
    images.erdas_imagine,
    images.png,
    images.jpeg,
    sqlite.geopackage,
    vectors.flatgeobuf,
    vectors.geoparquet,
    vectors.osm_pbf,
    images.srtm_hgt,
)
_TEXT: tuple[Callable[[Content, str], SourceFormat | None], ...] = (
    text.esri_ascii_grid,
    json_text.geojson,
    text.delimited,
)


def recognise(content: Content, sidecars: Sequence[str] | None) -> SourceFormat:
    """Return the format of a file or archive member that is not an archive.

    `sidecars` are the names of its sidecars, or None if they are unknown.

    Raises SourceEmpty: the content has no bytes.
    Raises SourceTruncated, SourceUnreadable: the content is cut short or damaged.
    Raises NoGeometry: the format is supported, but the content has no geometry.
    Raises UnsupportedFormat: the format is not supported, or the content refers to other files.
    """
    if content.size_bytes == 0:
        raise SourceEmpty(f"{content.name!r} is empty.")
    head = head_of(content)
    source_format = vectors.shapefile(content, head, sidecars)
    for rule in _BINARY:
        source_format = source_format or rule(content, head)
    return source_format or _recognise_text(content, head)


def _recognise_text(content: Content, head: bytes) -> SourceFormat:
    decoded = text.decode(head)
    source_format = xml_text.kml_or_gml(content, head)
    if decoded is not None:
        for rule in _TEXT:
            source_format = source_format or rule(content, decoded)
    if source_format is None:
        raise UnsupportedFormat(
            f"{content.name!r} is {foreign_name(content, head, decoded)}.",
            size_bytes=content.size_bytes,
        )
    refuse_foreign_markers(content, head)
    return source_format
