"""Find the dataset in an archive, by the content of its members.

Whether the archive is safe to read is checked in `archive.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO
from zipfile import ZipFile

from geo_platform.contracts.arrival import ArchiveMember, SourceFormat
from geo_platform.errors import (
    ArchiveUnsafe,
    LayerAmbiguous,
    LayerNotFound,
    PlatformError,
    UnsupportedFormat,
)
from geo_platform.source.archive import ArchiveLimits, Member, checked_archive
from geo_platform.source.content import Content, MemberContent
from geo_platform.source.recognise.content_format import recognise
from geo_platform.source.recognise.foreign import archive_name
from geo_platform.source.sidecar_content import check_sidecar
from geo_platform.source.sidecars import group_sources, is_hidden

_HEAD_BYTES = 512
_MAX_RECOGNISED = 500
_MAX_INDEX_BYTES = 64 * 1024
# Tables and pictures often accompany a dataset. They are the dataset only if there is no other.
_FALLBACK_FORMATS = (
    frozenset({SourceFormat.csv}),
    frozenset({SourceFormat.png, SourceFormat.jpeg}),
)


@dataclass(frozen=True)
class _Found:
    """A dataset in the archive. The path of a File Geodatabase is that of its folder."""

    path: str
    format: SourceFormat
    size_bytes: int


def dataset_in_archive(
    content: Content, *, member: str | None, limits: ArchiveLimits
) -> tuple[SourceFormat, ArchiveMember]:
    """Return the format and the path of the dataset in the archive.

    Several Shapefiles in one folder are the layers of one dataset, whose path is the folder ("" for
    the top level).

    Raises LayerAmbiguous: the archive holds several datasets, and no `member` is given.
    Raises LayerNotFound: the archive does not hold `member`.
    Raises UnsupportedFormat: the archive holds no dataset. If it holds a single candidate, the
    error of that candidate is raised instead.
    Raises what `archive.checked_archive` and `sidecar_content.check_sidecar` raise.
    """
    name = content.name
    with checked_archive(content, limits) as (archive, members):
        for one in members:
            _refuse_nested(archive, one, name)
            if not is_hidden(one.path):
                check_sidecar(MemberContent(archive, one.info, one.path))
        found, refusals = _datasets(archive, members)
        infos = {one.path: one.info for one in members}
        indexes = {
            one.path
            for one in found
            if one.path in infos and _is_index_document(archive.open(infos[one.path]), one)
        }
    if member is not None:
        return _chosen(found, member, name)
    datasets = [one for one in found if one.path not in indexes]
    candidates = _kmz_document(_joined_shapefiles(_best(datasets or found)))
    if len(candidates) == 1:
        return candidates[0].format, ArchiveMember(
            path=candidates[0].path, size_bytes=candidates[0].size_bytes
        )
    if candidates:
        names = [one.path for one in candidates]
        raise LayerAmbiguous(
            f"The archive {name!r} holds {len(names)} datasets: {_listed(names)}.",
            remedy="Choose one with archive_member, or submit each dataset separately.",
            members=names[:100],
        )
    if len(refusals) == 1:
        raise refusals[0]
    raise UnsupportedFormat(
        f"The archive {name!r} holds no dataset of a supported format.",
        refusals=[str(one) for one in refusals[:10]],
    )


def _refuse_nested(archive: ZipFile, member: Member, name: str) -> None:
    with archive.open(member.info) as stream:
        nested = archive_name(stream.read(_HEAD_BYTES))
    if nested:
        raise ArchiveUnsafe(f"The member {member.path!r} of {name!r} is {nested}.")


def _datasets(
    archive: ZipFile, members: Sequence[Member]
) -> tuple[list[_Found], list[PlatformError]]:
    found = _geodatabases(members)
    by_path = {member.path: member for member in members}
    refusals: list[PlatformError] = []
    for group in group_sources(by_path).sources[:_MAX_RECOGNISED]:
        content = MemberContent(archive, by_path[group.main].info, group.main)
        try:
            source_format = recognise(content, group.sidecars)
        except PlatformError as refusal:
            refusals.append(refusal)
        else:
            size_bytes = sum(by_path[path].size_bytes for path in (group.main, *group.sidecars))
            found.append(_Found(group.main, source_format, size_bytes))
    return found, refusals


def _geodatabases(members: Sequence[Member]) -> list[_Found]:
    """Return the folders *.gdb that hold the catalog table, which OpenFileGDB requires."""
    sizes: dict[str, int] = {}
    catalogs: set[str] = set()
    for member in members:
        parts = member.path.split("/")
        depth = next(
            (index for index, part in enumerate(parts[:-1]) if part.lower().endswith(".gdb")), None
        )
        if depth is not None:
            folder = "/".join(parts[: depth + 1])
            sizes[folder] = sizes.get(folder, 0) + member.size_bytes
            if parts[-1].lower() == "a00000001.gdbtable" and len(parts) == depth + 2:
                catalogs.add(folder)
    return [
        _Found(folder, SourceFormat.file_geodatabase, sizes[folder]) for folder in sorted(catalogs)
    ]


def _best(found: list[_Found]) -> list[_Found]:
    """Return the datasets proper if there are any, else the tables, else the pictures."""

    def rank(one: _Found) -> int:
        return next(
            (index for index, formats in enumerate(_FALLBACK_FORMATS, 1) if one.format in formats),
            0,
        )

    best = min(map(rank, found), default=0)
    return [one for one in found if rank(one) == best]


def _joined_shapefiles(found: list[_Found]) -> list[_Found]:
    folders = {one.path.rpartition("/")[0] for one in found}
    if (
        len(found) > 1
        and len(folders) == 1
        and all(one.format is SourceFormat.shapefile for one in found)
    ):
        return [_Found(folders.pop(), SourceFormat.shapefile, sum(one.size_bytes for one in found))]
    return found


def _kmz_document(found: list[_Found]) -> list[_Found]:
    # By convention, doc.kml at the top level of a KMZ is the document. Its links are not followed.
    documents = [one for one in found if one.path.lower() == "doc.kml"]
    return (
        documents if all(one.format is SourceFormat.kml for one in found) and documents else found
    )


def _is_index_document(content: IO[bytes], one: _Found) -> bool:
    # GDAL writes a doc.kml without placemarks into a KMZ, as an index of the layers' own files.
    with content:
        return (
            one.format is SourceFormat.kml
            and one.size_bytes <= _MAX_INDEX_BYTES
            and b"Placemark" not in content.read()
        )


def _chosen(found: list[_Found], member: str, name: str) -> tuple[SourceFormat, ArchiveMember]:
    for one in found:
        if one.path == member:
            return one.format, ArchiveMember(path=one.path, size_bytes=one.size_bytes)
    names = [one.path for one in found]
    raise LayerNotFound(
        f"The archive {name!r} holds no dataset {member!r}; it holds: {_listed(names)}.",
        members=names[:100],
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown or "none"
