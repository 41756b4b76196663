"""Opening a raster safely: only its format's own drivers, nothing remote, GDAL's errors said in the platform's words.

What belongs here: the way in, and the translation of reading errors. What stays out: deciding the format (`source/`).

Files of the store as a folder that GDAL reads from, range by range.

What belongs here: the bridge to rasterio's virtual file systems. What stays out: fetching; that is the streams' matter.

GDAL calls back from C, where an exception cannot go up: what a stream raises is kept, GDAL is told that it read nothing,
and whoever opened the dataset raises what was kept. So a network's fault is never taken for a damaged file, nor for a
mask that is not there.
"""

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.abc import FileContainer
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.io import DatasetReader

from geo_platform.errors import PlatformError, SourceTruncated, SourceUnreadable, UnsupportedFormat
from geo_platform.raster.gdal_environment import gdal_environment
from geo_platform.source.formats import FORMATS
from geo_platform.source.openable import OpenableSource, RangedFile

_TEXTS = (".wld", ".prj")


class RangedFolder(FileContainer):  # type: ignore[misc]
    """The files of one source by base name; whatever the folder is called, nothing else is in it, and nothing can be written."""

    def __init__(self, files: Mapping[str, RangedFile]) -> None:
        self._files = files
        self._faults: list[Exception] = []

    def raise_fault(self) -> None:
        """Raise what a stream raised first; nothing where all went well."""
        if self._faults:
            raise self._faults[0]

    def open(self, path: str, mode: str = "r", **_: Any) -> "_View":
        name = _base(path)
        if name not in self._files or mode.startswith(("w", "a")) or "+" in mode:
            raise FileNotFoundError(path)
        view = _TextView if name.endswith(_TEXTS) else _View
        return view(self._files[name], self._faults)

    def isfile(self, path: str) -> bool:
        return _base(path) in self._files

    def isdir(self, path: str) -> bool:
        return False

    def ls(self, path: str) -> list[str]:
        return sorted(self._files)

    def mtime(self, path: str) -> int:
        return 0

    def size(self, path: str) -> int:
        return self._files[_base(path)].size_bytes

    def rm(self, path: str) -> None:
        raise PermissionError(path)


class _View(io.RawIOBase):
    """One opening of a file: a position of its own over the stream that all openings share."""

    def __init__(self, file: RangedFile, faults: list[Exception]) -> None:
        super().__init__()
        self._file = file
        self._faults = faults
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = (
            offset
            + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size_bytes}[
                whence
            ]
        )
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        if (
            self._faults
        ):  # the rest of what GDAL tries would fail alike, each after its own time limit
            return b""
        try:
            with self._file.lock:
                self._file.stream.seek(self._position)
                content = self._file.stream.read(-1 if size is None else size)
        except Exception as fault:  # noqa: BLE001  # raised again by whoever opened the dataset
            self._faults.append(fault)
            return b""
        self._position += len(content)
        return content


class _TextView(_View):
    """A file that GDAL reads line by line, asking each time whether it is at its end.

    rasterio 1.4 answers that by reading one byte, and the wrong way round: a byte means the end. Nothing else reads one byte
    of such a file. See docs/decisions/0010-rasterio-end-of-file.md.
    """

    def read(self, size: int | None = -1) -> bytes:
        if size != 1:
            return super().read(size)
        if self._position < self._file.size_bytes:
            return b""
        self._position += 1  # rasterio goes back by the byte that it got
        return b"\n"


def _base(path: str) -> str:
    return path.rpartition("/")[2]


# Texts of GDAL 3.10's drivers for blocks that are missing or damaged, as against a header that
# makes no sense.
_DAMAGED_BLOCKS = re.compile(
    r"ReadEncoded|IReadBlock|TIFFFill|read failed|read error|failed to read|cannot read|unexpected end|premature|truncat|"
    r"not enough|corrupt|decod|tile-part|too short|file too short|inflate|libpng|scanline|bytes at|EOF",
    re.IGNORECASE,
)


@contextmanager
def open_raster(source: OpenableSource, *, in_part: bool = False) -> Iterator[DatasetReader]:
    """The dataset, read-only, unshared, while the context lasts. `in_part`: of uncompressed tiles only the rows that are asked for.

    Errors met inside the context while reading it are translated too.
    Raises SourceUnreadable, SourceTruncated, UnsupportedFormat; where the source is read by ranges, the store's faults and
    Conflict too, whatever GDAL made of them.
    """
    folder = RangedFolder(source.ranged) if source.ranged else None
    with (
        _store_faults(folder),
        gdal_environment(rows_of_tiles=in_part),
        reading_errors(source.display_name),
        _opened(source, folder) as dataset,
    ):
        yield dataset


@contextmanager
def _store_faults(folder: RangedFolder | None) -> Iterator[None]:
    """What went wrong in the store comes first: GDAL sees no more of it than a short file, or none."""
    try:
        yield
    except Exception:
        if folder is not None:
            folder.raise_fault()
        raise
    if folder is not None:
        folder.raise_fault()


@contextmanager
def reading_errors(display_name: str) -> Iterator[None]:
    """Translates what rasterio and GDAL raise about a source. Raises SourceTruncated or SourceUnreadable."""
    try:
        yield
    except PlatformError:
        raise
    except (RasterioError, CPLE_BaseError) as error:
        raise read_failure(display_name, error) from error


def read_failure(display_name: str, error: BaseException) -> SourceTruncated | SourceUnreadable:
    """The leaf that fits GDAL's text; the text itself goes to the details, its paths being the platform's own."""
    chain = [error, error.__cause__, error.__context__]
    text = " ".join(str(link) for link in chain if link is not None)
    if _DAMAGED_BLOCKS.search(text):
        return SourceTruncated(
            f"{display_name!r} could not be read to its end: blocks of its pixels are missing or damaged.",
            gdal=text[:500],
        )
    return SourceUnreadable(f"{display_name!r} could not be read as a raster.", gdal=text[:500])


def _opened(source: OpenableSource, folder: RangedFolder | None) -> DatasetReader:
    drivers = FORMATS[source.format].rasterio_drivers
    if not drivers:
        raise UnsupportedFormat(
            f"{source.display_name!r} is {source.format.value}, which is no raster format."
        )
    failure: RasterioIOError | None = None
    for driver in drivers:
        try:
            return _readable(source, _quietly(source.gdal_path, driver, folder))
        except RasterioIOError as error:
            failure = failure or error
    raise read_failure(source.display_name, failure or RasterioIOError("no driver")) from failure


def _quietly(gdal_path: str, driver: str, folder: RangedFolder | None) -> DatasetReader:
    """A missing geotransform is refused by the profile with a name and a remedy; rasterio's warning adds nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(gdal_path, driver=driver, sharing=False, opener=folder)


def _readable(source: OpenableSource, dataset: DatasetReader) -> DatasetReader:
    """Refuses what opens and yet holds no pixels that a COG of numbers could carry."""
    complex_bands = [
        index
        for index, dtype in zip(dataset.indexes, dataset.dtypes, strict=True)
        if "complex" in dtype
    ]
    bands = dataset.count
    if bands and not complex_bands:
        return dataset
    dataset.close()
    if complex_bands:
        raise UnsupportedFormat(
            f"Bands {complex_bands} of {source.display_name!r} hold complex numbers, which are not supported.",
            remedy="Export amplitude and phase, or real and imaginary part, as bands of their own.",
        )
    raise SourceUnreadable(f"{source.display_name!r} has no raster bands.")
