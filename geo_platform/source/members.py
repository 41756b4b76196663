"""Which member of an archive is the dataset: decided by content, like everything at the door.

What belongs here: looking at members and choosing. What stays out: whether the archive is safe (`archive.py`).
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
from geo_platform.source.companion import check_companion
from geo_platform.source.content import Content, MemberContent
from geo_platform.source.recognise.content_format import recognise
from geo_platform.source.recognise.foreign import archive_name
from geo_platform.source.sidecars import group_sources, is_hidden

_HEAD_BYTES = 512
_MAX_LOOKED_AT = 500
_LARGEST_INDEX_BYTES = 64 * 1024
# Tables and pictures often lie beside a dataset; they are one only where nothing else is.
_LAST_RESORT = (
    frozenset({SourceFormat.csv}),
    frozenset({SourceFormat.png, SourceFormat.jpeg}),
)


@dataclass(frozen=True)
class _Found:
    """A dataset inside the archive. `path` of a File Geodatabase is its folder."""

    path: str
    format: SourceFormat
    size_bytes: int


def dataset_in_archive(
    content: Content, *, member: str | None, limits: ArchiveLimits
) -> tuple[SourceFormat, ArchiveMember]:
    """The format and the member that is read. Shapefiles of one folder are layers of one dataset, which is the folder ("" at the top).

    Raises LayerAmbiguous (several datasets and no `member`), LayerNotFound, UnsupportedFormat (none), what `archive.py` raises, and,
    where there is but one candidate, what is wrong with it.
    """
    name = content.name
    with checked_archive(content, limits) as (archive, members):
        for one in members:
            _refuse_nested(archive, one, name)
            if not is_hidden(one.path):
                check_companion(MemberContent(archive, one.info, one.path))
        found, refusals = _datasets(archive, members)
        infos = {one.path: one.info for one in members}
        linking = {
            one.path
            for one in found
            if one.path in infos and _only_links(archive.open(infos[one.path]), one)
        }
    if member is not None:
        return _chosen(found, member, name)
    holding = [one for one in found if one.path not in linking]
    candidates = _kmz_document(_joined_shapefiles(_best(holding or found)))
    if len(candidates) == 1:
        return candidates[0].format, ArchiveMember(
            path=candidates[0].path, size_bytes=candidates[0].size_bytes
        )
    if candidates:
        names = [one.path for one in candidates]
        raise LayerAmbiguous(
            f"The archive {name!r} holds {len(names)} datasets: {_listed(names)}.",
            remedy="Choose one of them with archive_member, or send each by itself.",
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
        raise ArchiveUnsafe(f"The member {member.path!r} of {name!r} is itself {nested}.")


def _datasets(
    archive: ZipFile, members: Sequence[Member]
) -> tuple[list[_Found], list[PlatformError]]:
    found = _geodatabases(members)
    by_path = {member.path: member for member in members}
    refusals: list[PlatformError] = []
    for group in group_sources(by_path).sources[:_MAX_LOOKED_AT]:
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
    """Folders named *.gdb that hold the catalog table, as OpenFileGDB asks."""
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
    """Those of the best rank that is present: datasets proper, then tables, then pictures."""

    def rank(one: _Found) -> int:
        return next(
            (index for index, formats in enumerate(_LAST_RESORT, 1) if one.format in formats), 0
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
    """By KMZ's convention doc.kml at the top is the document; what it links to is not followed."""
    documents = [one for one in found if one.path.lower() == "doc.kml"]
    return (
        documents if all(one.format is SourceFormat.kml for one in found) and documents else found
    )


def _only_links(content: IO[bytes], one: _Found) -> bool:
    """A short KML document without a placemark, as GDAL writes before the layers of a KMZ: it is an index of the others."""
    with content:
        return (
            one.format is SourceFormat.kml
            and one.size_bytes <= _LARGEST_INDEX_BYTES
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
