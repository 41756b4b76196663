"""Detect the format of a source by its content. Content that no rule recognises is refused.

The rules for files are in `recognise/`, for archives in `archive.py` and `members.py`.

Used by `arrivals`, `chains`, `cli` and `source`.
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
    """The format and kind of a source.

    `media_type` is the media type of the object; for an archive it describes the archive, not the
    dataset in it. `archive_member` is the dataset in the archive, None for other sources.
    """

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
    """Detect the format of a local file by `detect_content`; `name` is the original name."""
    return detect_content(FileContent(path, name), sidecars=sidecars, member=member, limits=limits)


def detect_content(
    content: Content,
    *,
    sidecars: Sequence[str] = (),
    member: str | None = None,
    limits: ArchiveLimits = DEFAULT_LIMITS,
) -> DetectedSource:
    """Detect the format of a file, or of the dataset in an archive.

    `sidecars` are the names of the sidecars of the file; a Shapefile without .shx or .dbf is
    refused. `member` is the path of a dataset in the archive; an archive that holds several
    datasets needs it.

    Raises SourceEmpty, SourceTruncated, SourceUnreadable: the content cannot be read.
    Raises UnsupportedFormat, NoGeometry: the content is not supported, or has no geometry.
    Raises ArchiveUnsafe, DecompressionBomb: the archive breaks a rule or a limit.
    Raises LayerAmbiguous: the archive holds several datasets, and `member` is None.
    Raises LayerNotFound: the archive does not hold the dataset `member`.
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
