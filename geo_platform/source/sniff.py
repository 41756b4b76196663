"""What a source is, decided by its bytes. Positive identification only: what no rule knows is refused with its name.

What belongs here: the door's one question. What stays out: the rules for files (`recognise/`) and archives (`archive.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geo_platform.contracts.arrival import ArchiveMember, SourceFormat, SourceKind
from geo_platform.source.archive import DEFAULT_LIMITS, ArchiveLimits
from geo_platform.source.content import Content, FileContent
from geo_platform.source.formats import FORMATS, KMZ_MEDIA_TYPE, ZIP_MEDIA_TYPE
from geo_platform.source.members import dataset_in_archive
from geo_platform.source.recognise.content_format import recognise

_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")


@dataclass(frozen=True)
class DetectedSource:
    """`media_type` is the object's own; of an archive, that of the archive. `archive_member` is what is read inside."""

    format: SourceFormat
    kind: SourceKind
    media_type: str
    archive_member: ArchiveMember | None = None


def detect(
    path: Path,
    *,
    name: str,
    sidecars: Sequence[str] = (),
    member: str | None = None,
    limits: ArchiveLimits = DEFAULT_LIMITS,
) -> DetectedSource:
    """As `detect_content`, of a local file. `name` is the object's own name."""
    return detect_content(FileContent(path, name), sidecars=sidecars, member=member, limits=limits)


def detect_content(
    content: Content,
    *,
    sidecars: Sequence[str] = (),
    member: str | None = None,
    limits: ArchiveLimits = DEFAULT_LIMITS,
) -> DetectedSource:
    """`sidecars` are the names beside the object, for formats of several files; `member` chooses the dataset of an archive that
    holds several.

    Raises SourceEmpty, SourceTruncated, SourceUnreadable, NoGeometry, UnsupportedFormat, ArchiveUnsafe, DecompressionBomb,
    LayerAmbiguous, LayerNotFound.
    """
    with content.open() as stream:
        is_zip = stream.read(4) in _ZIP_MAGICS
    if is_zip:
        source_format, archive_member = dataset_in_archive(content, member=member, limits=limits)
        media_type = KMZ_MEDIA_TYPE if source_format is SourceFormat.kml else ZIP_MEDIA_TYPE
        return DetectedSource(
            source_format, FORMATS[source_format].kind, media_type, archive_member
        )
    source_format = recognise(content, sidecars)
    return DetectedSource(
        source_format, FORMATS[source_format].kind, FORMATS[source_format].media_type
    )
