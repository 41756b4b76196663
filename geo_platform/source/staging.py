"""A source under a name of ours, in a folder of its own: the user's name and neighbours have no influence on a driver.

What belongs here: the private folder and the path that a driver is given. What stays out: deciding the format (`sniff.py`),
opening (`raster/`, `vector/`).
"""

import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from geo_platform.contracts.arrival import SourceFormat, SourceKind
from geo_platform.errors import SourceUnreadable
from geo_platform.source.companion import check_companion
from geo_platform.source.content import FileContent, StoredContent
from geo_platform.source.formats import FORMATS
from geo_platform.source.openable import OpenableSource, RangedFile
from geo_platform.source.recognise.images import HGT_TILE
from geo_platform.source.sidecars import exposed_sidecars
from geo_platform.source.sniff import DetectedSource

_STEM = "source"
# A file name holds 255 bytes; a letter takes up to four.
_MAX_STEM_LETTERS = 60


@contextmanager
def staged(
    path: Path,
    detected: DetectedSource,
    sidecar_paths: Mapping[str, Path],
    *,
    name: str,
    scratch: Path,
) -> Iterator[OpenableSource]:
    """`sidecar_paths` maps the sidecars' own names to local files. Links are made, no bytes are copied.

    Drivers may write beside what they read (statistics, .gfs): that lands in the folder, which goes with the context.
    Raises UnsupportedFormat or SourceUnreadable for a sidecar that may not be followed.
    """
    if detected.kind is SourceKind.vector:
        _restrict_vector_drivers()
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="source-", dir=scratch) as folder_name:
        folder = Path(folder_name).resolve()
        if detected.archive_member is not None:
            gdal_path = _stage_archive(folder, path, detected.archive_member.path)
        else:
            gdal_path = _stage_file(folder, path, detected.format, sidecar_paths, name)
        yield OpenableSource(gdal_path=gdal_path, format=detected.format, display_name=name)


def ranged(
    main: RangedFile, source_format: SourceFormat, sidecars: Mapping[str, RangedFile], *, name: str
) -> OpenableSource:
    """The same without a folder: files that a driver reads where they lie, under names of ours. `sidecars` by their own names.

    Raises UnsupportedFormat or SourceUnreadable for a sidecar that may not be followed.
    """
    base = _stem(source_format, name) + FORMATS[source_format].canonical_extension
    files = {base: main}
    for suffix, sidecar in exposed_sidecars(source_format, name, sidecars).items():
        file = sidecars[sidecar]
        check_companion(StoredContent(file.stream, file.size_bytes, sidecar, _no_file))
        files[f"{_stem(source_format, name)}{suffix}"] = file
    # Drivers are told apart by folder, so each source gets one of its own.
    return OpenableSource(f"/ranged-{uuid.uuid4().hex}/{base}", source_format, name, files)


def _no_file() -> AbstractContextManager[Path]:
    raise NotImplementedError("a companion is looked at in its stream")


def _restrict_vector_drivers() -> None:
    # Imported here: pyogrio loads pandas, which rasters do not need.
    from geo_platform.source.vector_drivers import restrict_vector_drivers

    restrict_vector_drivers()


def _stage_archive(folder: Path, path: Path, member: str) -> str:
    """Braces end the archive's own path for GDAL, so that only the rest is looked up inside."""
    link = folder / f"{_STEM}.zip"
    link.symlink_to(path.resolve())
    return f"/vsizip/{{{link}}}/{member}" if member else f"/vsizip/{{{link}}}"


def _stage_file(
    folder: Path,
    path: Path,
    source_format: SourceFormat,
    sidecar_paths: Mapping[str, Path],
    name: str,
) -> str:
    stem = _stem(source_format, name)
    main = folder / f"{stem}{FORMATS[source_format].canonical_extension}"
    main.symlink_to(path.resolve())
    for suffix, sidecar in exposed_sidecars(source_format, name, sidecar_paths).items():
        sidecar_path = sidecar_paths[sidecar]
        check_companion(FileContent(sidecar_path, sidecar))
        link = folder / (sidecar.rpartition("/")[2] if suffix == ".ige" else f"{stem}{suffix}")
        if not link.is_symlink():
            link.symlink_to(sidecar_path.resolve())
    return str(main)


def _stem(source_format: SourceFormat, name: str) -> str:
    """A raster is called "source". An SRTM tile keeps its name, since it is its georeference; a vector file keeps its
    letters and digits, since OGR names the layer of most formats after the file."""
    base = name.rpartition("/")[2]
    if FORMATS[source_format].kind is SourceKind.vector:
        stem = (
            base.partition(".osm.pbf")[0]
            if base.lower().endswith(".osm.pbf")
            else (base.rpartition(".")[0] or base)
        )
        return (
            "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in stem)[
                :_MAX_STEM_LETTERS
            ]
            or _STEM
        )
    if source_format is not SourceFormat.srtm_hgt:
        return _STEM
    tile = HGT_TILE.fullmatch(base)
    if tile is None:
        raise SourceUnreadable(
            f"{name!r} does not say which SRTM tile it is.",
            remedy="Name it like its tile, for example N47E008.hgt.",
        )
    return tile.group(1).upper()
