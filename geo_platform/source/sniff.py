"""What a source is, decided by its bytes. Positive identification only: what no rule knows is refused with its name.

What belongs here: the order of the recognisers. What stays out: the rules themselves (`recognise/`), archives (`archive.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from geo_platform.contracts.arrival import ArchiveMember, SourceFormat, SourceKind
from geo_platform.errors import SourceEmpty, UnsupportedFormat
from geo_platform.source.content import Content, FileContent, head_of
from geo_platform.source.formats import FORMATS
from geo_platform.source.recognise import images, json_text, sqlite, text, tiff, vectors, xml_text
from geo_platform.source.recognise.foreign import foreign_name, refuse_hijacking_text


@dataclass(frozen=True)
class DetectedSource:
    """`media_type` is the object's own; of an archive, that of the archive. `archive_member` is what is read inside."""

    format: SourceFormat
    kind: SourceKind
    media_type: str
    archive_member: ArchiveMember | None = None


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
_TEXT: tuple[Callable[[Content, str], SourceFormat | None], ...] = (text.esri_ascii_grid, json_text.geojson, text.delimited)


def recognise(content: Content, sidecars: Sequence[str] | None) -> SourceFormat:
    """The format of one file or archive member that is no archive itself.

    Raises SourceEmpty, SourceTruncated, SourceUnreadable, NoGeometry, UnsupportedFormat.
    """
    if content.size_bytes == 0:
        raise SourceEmpty(f"{content.name!r} is empty.")
    head = head_of(content)
    found = vectors.shapefile(content, head, sidecars)
    for rule in _BINARY:
        found = found or rule(content, head)
    return found or _recognise_text(content, head)


def _recognise_text(content: Content, head: bytes) -> SourceFormat:
    decoded = text.decoded(head)
    found = xml_text.kml_or_gml(content, head)
    if decoded is not None:
        for rule in _TEXT:
            found = found or rule(content, decoded)
    if found is None:
        raise UnsupportedFormat(f"{content.name!r} is {foreign_name(content, head, decoded)}.", size_bytes=content.size_bytes)
    refuse_hijacking_text(content, head)
    return found


def detected(source_format: SourceFormat) -> DetectedSource:
    rule = FORMATS[source_format]
    return DetectedSource(source_format, rule.kind, rule.media_type)


def detect(path: Path, *, name: str, sidecars: Sequence[str] = ()) -> DetectedSource:
    """`name` is the object's own name and `sidecars` the names beside it, for formats of several files.

    Raises SourceEmpty, SourceTruncated, SourceUnreadable, NoGeometry, UnsupportedFormat, ArchiveUnsafe, DecompressionBomb,
    LayerAmbiguous (an archive of several datasets).
    """
    return detected(recognise(FileContent(path, name), sidecars))
