"""Find the dataset in an archive, by the content of its members.

`archive.py` checks that the archive is safe to read.

Called by `sniff.py`.
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
# Tables and pictures often accompany a dataset. They count only if there is no other dataset.
_FALLBACK_FORMATS = (
    frozenset({SourceFormat.csv}),
    frozenset({SourceFormat.png, SourceFormat.jpeg}),
)


@dataclass(frozen=True)
class _Dataset:
    """A dataset in the archive. For a File Geodatabase, `path` is the path of its folder."""

    path: str
    format: SourceFormat
    size_bytes: int


def dataset_in_archive(
    content: Content, *, member: str | None, limits: ArchiveLimits
) -> tuple[SourceFormat, ArchiveMember]:
    """Return the format and the path of the dataset in the archive.

    If all datasets are Shapefiles in the same folder, they are layers of one dataset. Its path is
    the path of the folder, "" for the top level.

    Raises LayerAmbiguous: the archive holds several datasets, and `member` is None.
    Raises LayerNotFound: the archive does not hold the dataset `member`.
    Raises UnsupportedFormat: the archive holds no dataset. If exactly one file was refused, the
    error about that file is raised instead.
    Raises ArchiveUnsafe, DecompressionBomb: the archive breaks a rule or a limit, or holds another
    archive.
    Raises SourceEmpty, SourceTruncated, SourceUnreadable: the archive or a sidecar is empty or
    damaged.
    """
    name = content.name
    with checked_archive(content, limits) as (archive, members):
        for file in members:
            _refuse_nested(archive, file, name)
            if not is_hidden(file.path):
                check_sidecar(MemberContent(archive, file.info, file.path))
        all_datasets, refusals = _datasets(archive, members)
        infos = {file.path: file.info for file in members}
        indexes = {
            dataset.path
            for dataset in all_datasets
            if dataset.path in infos
            and _is_index_document(archive.open(infos[dataset.path]), dataset)
        }
    if member is not None:
        return _select_member(all_datasets, member, name)
    datasets = [dataset for dataset in all_datasets if dataset.path not in indexes]
    candidates = _kmz_document(_joined_shapefiles(_best(datasets or all_datasets)))
    if len(candidates) == 1:
        return candidates[0].format, ArchiveMember(
            path=candidates[0].path, size_bytes=candidates[0].size_bytes
        )
    if candidates:
        names = [dataset.path for dataset in candidates]
        raise LayerAmbiguous(
            f"The archive {name!r} holds {len(names)} datasets: {_list_names(names)}.",
            remedy="Choose a dataset with archive_member, or submit each dataset separately.",
            members=names[:100],
        )
    if len(refusals) == 1:
        raise refusals[0]
    raise UnsupportedFormat(
        f"The archive {name!r} holds no dataset of a supported format.",
        refusals=[str(refusal) for refusal in refusals[:10]],
    )


def _refuse_nested(archive: ZipFile, member: Member, name: str) -> None:
    with archive.open(member.info) as stream:
        nested = archive_name(stream.read(_HEAD_BYTES))
    if nested:
        raise ArchiveUnsafe(f"The member {member.path!r} of {name!r} is {nested}.")


def _datasets(
    archive: ZipFile, members: Sequence[Member]
) -> tuple[list[_Dataset], list[PlatformError]]:
    all_datasets = _geodatabases(members)
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
            all_datasets.append(_Dataset(group.main, source_format, size_bytes))
    return all_datasets, refusals


def _geodatabases(members: Sequence[Member]) -> list[_Dataset]:
    """Return the *.gdb folders with the catalog table that OpenFileGDB requires."""
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
        _Dataset(folder, SourceFormat.file_geodatabase, sizes[folder])
        for folder in sorted(catalogs)
    ]


def _best(all_datasets: list[_Dataset]) -> list[_Dataset]:
    """Return the datasets that are no table or picture, else the tables, else the pictures."""

    def rank(dataset: _Dataset) -> int:
        return next(
            (
                index
                for index, formats in enumerate(_FALLBACK_FORMATS, 1)
                if dataset.format in formats
            ),
            0,
        )

    best = min(map(rank, all_datasets), default=0)
    return [dataset for dataset in all_datasets if rank(dataset) == best]


def _joined_shapefiles(all_datasets: list[_Dataset]) -> list[_Dataset]:
    folders = {dataset.path.rpartition("/")[0] for dataset in all_datasets}
    if (
        len(all_datasets) > 1
        and len(folders) == 1
        and all(dataset.format is SourceFormat.shapefile for dataset in all_datasets)
    ):
        return [
            _Dataset(
                folders.pop(),
                SourceFormat.shapefile,
                sum(dataset.size_bytes for dataset in all_datasets),
            )
        ]
    return all_datasets


def _kmz_document(all_datasets: list[_Dataset]) -> list[_Dataset]:
    # By convention, doc.kml at the top level of a KMZ is the main document. Links are not followed.
    documents = [dataset for dataset in all_datasets if dataset.path.lower() == "doc.kml"]
    return (
        documents
        if all(dataset.format is SourceFormat.kml for dataset in all_datasets) and documents
        else all_datasets
    )


def _is_index_document(content: IO[bytes], dataset: _Dataset) -> bool:
    # GDAL writes a doc.kml without placemarks into a KMZ, as an index of the layers' own files.
    with content:
        return (
            dataset.format is SourceFormat.kml
            and dataset.size_bytes <= _MAX_INDEX_BYTES
            and b"Placemark" not in content.read()
        )


def _select_member(
    all_datasets: list[_Dataset], member: str, name: str
) -> tuple[SourceFormat, ArchiveMember]:
    for dataset in all_datasets:
        if dataset.path == member:
            return dataset.format, ArchiveMember(path=dataset.path, size_bytes=dataset.size_bytes)
    names = [dataset.path for dataset in all_datasets]
    raise LayerNotFound(
        f"The archive {name!r} holds no dataset {member!r}; it holds: {_list_names(names)}.",
        remedy="Choose one of these datasets with archive_member.",
        members=names[:100],
    )


def _list_names(names: Sequence[str]) -> str:
    listed = ", ".join(repr(name) for name in names[:20])
    return f"{listed} and {len(names) - 20} more" if len(names) > 20 else listed or "none"
