"""Give a driver a source under a name chosen by the platform, isolated from other files.

A local source is linked into a folder of its own; a remote source is read by ranges. Neither the
user's file name nor other files beside the source influence a driver. Members of an archive are
read in place, except GML, and a Shapefile whose parts GDAL would not find by their letter case.

Called by `arrival.py`.
"""

import shutil
import tempfile
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

from geo_platform.contracts.arrival import SourceFormat, SourceKind
from geo_platform.errors import SourceTruncated, SourceUnreadable
from geo_platform.source.archive import gdal_member_path
from geo_platform.source.content import FileContent, StoredContent
from geo_platform.source.formats import FORMATS
from geo_platform.source.grid_text import grid_driver_options
from geo_platform.source.openable import OpenableSource, RangedFile
from geo_platform.source.recognise.images import HGT_TILE
from geo_platform.source.sidecar_content import check_sidecar
from geo_platform.source.sidecars import all_sidecars, driver_sidecars, is_hidden
from geo_platform.source.sniff import DetectedSource

_STEM = "source"
_COPY_BYTES = 1024 * 1024
# A file name holds at most 255 bytes, and a character takes up to four.
_MAX_STEM_CHARACTERS = 60


@contextmanager
def linked_source(
    path: Path,
    detected: DetectedSource,
    sidecar_paths: Mapping[str, Path],
    *,
    name: str,
    scratch: Path,
) -> Iterator[OpenableSource]:
    """Link a local source and its sidecars into a private folder, which is removed on exit.

    `sidecar_paths` maps the original names of the sidecars to local files. No bytes are copied.
    What a driver writes beside the source (statistics, .gfs) is removed with the folder.

    Raises UnsupportedFormat, SourceUnreadable: a sidecar is not what its name indicates, or refers
    to another file.
    Raises SourceUnreadable: the name of an SRTM file does not identify a tile.
    """
    if detected.kind is SourceKind.vector:
        _restrict_vector_drivers()
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="source-", dir=scratch) as folder_name:
        folder = Path(folder_name).resolve()
        if detected.archive_member is not None:
            gdal_path = _link_archive(folder, path, detected, name)
        else:
            gdal_path = _link_file(folder, path, detected.format, sidecar_paths, name)
        options = {}
        if detected.format is SourceFormat.esri_ascii_grid:
            with _open_source(path, detected, name) as grid:
                options = grid_driver_options(grid)
        yield OpenableSource(
            gdal_path=gdal_path, format=detected.format, display_name=name, driver_options=options
        )


@contextmanager
def _open_source(path: Path, detected: DetectedSource, name: str) -> Iterator[IO[bytes]]:
    if detected.archive_member is None:
        with path.open("rb") as file:
            yield file
        return
    with _open_member(path, detected.archive_member.path, name) as file:
        yield file


@contextmanager
def _open_member(path: Path, member: str, name: str) -> Iterator[IO[bytes]]:
    """Open a member of an archive by the path that GDAL gives it.

    Raises SourceTruncated: the member does not match its checksum.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            info = next(info for info in infos if gdal_member_path(info, name) == member)
            with archive.open(info) as file:
                yield file
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise SourceTruncated(f"The archive {name!r} is damaged.") from error


def ranged_source(
    main: RangedFile, source_format: SourceFormat, sidecars: Mapping[str, RangedFile], *, name: str
) -> OpenableSource:
    """Describe a remote source that a driver reads by ranges, without a local folder.

    `sidecars` maps the original names of the sidecars to their streams.

    Raises UnsupportedFormat, SourceUnreadable: a sidecar is not what its name indicates, or refers
    to another file.
    Raises SourceUnreadable: the name of an SRTM file does not identify a tile.
    """
    base = _stem(source_format, name) + FORMATS[source_format].canonical_extension
    files = {base: main}
    for suffix, sidecar in driver_sidecars(source_format, name, sidecars).items():
        file = sidecars[sidecar]
        check_sidecar(StoredContent(file.stream, file.size_bytes, sidecar, _no_local_file))
        files[f"{_stem(source_format, name)}{suffix}"] = file
    # GDAL identifies the source by the folder, so each source gets a unique folder name.
    return OpenableSource(f"/ranged-{uuid.uuid4().hex}/{base}", source_format, name, files)


def _no_local_file() -> AbstractContextManager[Path]:
    raise NotImplementedError("a sidecar is checked from its stream")


def _restrict_vector_drivers() -> None:
    # Import late: pyogrio loads pandas, which rasters do not need.
    from geo_platform.source.vector_drivers import restrict_vector_drivers

    restrict_vector_drivers()


def _link_archive(folder: Path, path: Path, detected: DetectedSource, name: str) -> str:
    member = detected.archive_member.path if detected.archive_member else ""
    if detected.format is SourceFormat.shapefile:
        unpacked = _unpacked_shapefiles(folder, path, member, name)
        if unpacked is not None:
            return str(unpacked)
    if detected.format is SourceFormat.gml:
        # Beside it, GDAL would read a .gfs or an .xsd that says which fields there are.
        unpacked_gml = folder / f"{_stem(SourceFormat.gml, member)}.gml"
        with _open_member(path, member, name) as packed, unpacked_gml.open("xb") as file:
            shutil.copyfileobj(packed, file, _COPY_BYTES)
        return str(unpacked_gml)
    # The braces tell GDAL where the path of the archive ends and that of the member begins.
    link = folder / f"{_STEM}.zip"
    link.symlink_to(path.resolve())
    return f"/vsizip/{{{link}}}/{member}" if member else f"/vsizip/{{{link}}}"


def _unpacked_shapefiles(folder: Path, path: Path, member: str, name: str) -> Path | None:
    """Unpack the Shapefiles of an archive in which the letter case of the parts differs.

    GDAL finds a part in an archive only under the exact name of the .shp file. Return None if it
    finds all parts. `member` is a .shp file, or the folder of several.

    Raises SourceTruncated: a part does not match its checksum.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = {
                gdal_member_path(info, name): info
                for info in archive.infolist()
                if not info.is_dir()
            }
            mains = (
                [member]
                if member in infos
                else [
                    inside
                    for inside in infos
                    if inside.rpartition("/")[0] == member
                    and inside.lower().endswith(".shp")
                    and not is_hidden(inside)
                ]
            )
            parts = {
                main: driver_sidecars(SourceFormat.shapefile, main, all_sidecars(main, infos))
                for main in mains
            }
            if all(_found_by_gdal(main, parts[main]) for main in mains):
                return None
            unpacked = folder / "unpacked"
            unpacked.mkdir()
            for main in mains:
                stem = _stem(SourceFormat.shapefile, main)
                for suffix, part in {".shp": main, **parts[main]}.items():
                    target = unpacked / f"{stem}{suffix}"
                    with archive.open(infos[part]) as packed, target.open("xb") as file:
                        shutil.copyfileobj(packed, file, _COPY_BYTES)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise SourceTruncated(f"The archive {name!r} is damaged.") from error
    return (
        unpacked / f"{_stem(SourceFormat.shapefile, member)}.shp" if mains == [member] else unpacked
    )


def _found_by_gdal(main: str, parts: Mapping[str, str]) -> bool:
    stem = main.rpartition(".")[0]
    return all(part in (stem + suffix, stem + suffix.upper()) for suffix, part in parts.items())


def _link_file(
    folder: Path,
    path: Path,
    source_format: SourceFormat,
    sidecar_paths: Mapping[str, Path],
    name: str,
) -> str:
    stem = _stem(source_format, name)
    main = folder / f"{stem}{FORMATS[source_format].canonical_extension}"
    main.symlink_to(path.resolve())
    for suffix, sidecar in driver_sidecars(source_format, name, sidecar_paths).items():
        sidecar_path = sidecar_paths[sidecar]
        check_sidecar(FileContent(sidecar_path, sidecar))
        link = folder / (sidecar.rpartition("/")[2] if suffix == ".ige" else f"{stem}{suffix}")
        if not link.is_symlink():
            link.symlink_to(sidecar_path.resolve())
    return str(main)


def _stem(source_format: SourceFormat, name: str) -> str:
    """Return the file name, without extension, under which a driver gets the source.

    The name of a raster is "source", but an SRTM tile keeps the name that is its georeference. A
    vector file keeps letters and digits, because OGR names the layer of most formats after the
    file.
    """
    base = name.rpartition("/")[2]
    if FORMATS[source_format].kind is SourceKind.vector:
        stem = (
            base.partition(".osm.pbf")[0]
            if base.lower().endswith(".osm.pbf")
            else (base.rpartition(".")[0] or base)
        )
        return (
            "".join(char if char.isalnum() or char in "_-" else "_" for char in stem)[
                :_MAX_STEM_CHARACTERS
            ]
            or _STEM
        )
    if source_format is not SourceFormat.srtm_hgt:
        return _STEM
    tile = HGT_TILE.fullmatch(base)
    if tile is None:
        raise SourceUnreadable(
            f"The name {name!r} does not identify an SRTM tile.",
            remedy="Name the file after its tile, for example N47E008.hgt.",
        )
    return tile.group(1).upper()
