"""Open rasters safely: one named driver, no network access, platform errors.

A source in an object store is read by byte ranges through `RangedFolder`. For recognising a format
see `geo_platform/source/`; for undocumented behaviour of rasterio see `rasterio_internals.py`.

Used by `raster`.
"""

import io
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio
from rasterio.abc import FileContainer
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from rasterio.io import DatasetReader

from geo_platform.errors import PlatformError, SourceTruncated, SourceUnreadable, UnsupportedFormat
from geo_platform.raster.rasterio_internals import (
    block_cache_setting,
    end_of_file_reply,
    gdal_error_types,
    reports_damaged_blocks,
    uncompressed_overviews_setting,
)
from geo_platform.source.formats import FORMATS
from geo_platform.source.openable import OpenableSource, RangedFile

BLOCK_CACHE_BYTES = 512 * 1024**2

# GDAL's network file systems (/vsicurl and others) open only names with this ending. No such name
# exists.
_ALLOWED_REMOTE_SUFFIX = ".nothing-remote-is-ever-read"

# Sidecars that GDAL reads line by line.
_TEXT_SUFFIXES = (".wld", ".prj")


def gdal_environment(*, partial_tiles: bool = False) -> rasterio.Env:
    """Return the GDAL settings under which rasters are opened.

    `partial_tiles`: read single rows of a tile instead of whole tiles. This bypasses the block
    cache and works for uncompressed tiles only.
    """
    return rasterio.Env(
        **block_cache_setting(BLOCK_CACHE_BYTES),
        **uncompressed_overviews_setting(),
        # Look up sidecars by name; listing the folder could mean very many objects.
        GDAL_DISABLE_READDIR_ON_OPEN="TRUE",
        GDAL_TIFF_INTERNAL_MASK="YES",
        GDAL_PAM_ENABLED="YES",
        GTIFF_DIRECT_IO="YES" if partial_tiles else "NO",
        GTIFF_HONOUR_NEGATIVE_SCALEY="NO",
        # libjpeg warns about damaged data and fills it with gray. Treat that as damage.
        GDAL_ERROR_ON_LIBJPEG_WARNING="YES",
        VSI_CACHE="FALSE",
        CPL_VSIL_CURL_ALLOWED_EXTENSIONS=_ALLOWED_REMOTE_SUFFIX,
        CPL_VSIL_CURL_USE_HEAD="NO",
        GDAL_HTTP_MAX_RETRY="0",
        GDAL_HTTP_TIMEOUT="1",
        GDAL_HTTP_CONNECTTIMEOUT="1",
        GDAL_HTTP_PROXY="127.0.0.1:9",
        GDAL_ENABLE_WMS_CACHE="NO",
        # Threads of GDAL's warper print errors that the calling thread gets too.
        CPL_LOG=os.devnull,
        PROJ_NETWORK="OFF",
    )


@contextmanager
def open_raster(source: OpenableSource, *, partial_tiles: bool = False) -> Iterator[DatasetReader]:
    """Open the source read-only. Errors of GDAL inside the context are translated too.

    `partial_tiles`: read only the requested rows of uncompressed tiles.
    Raises SourceUnreadable, SourceTruncated: if the file is malformed or its pixels are damaged.
    Raises UnsupportedFormat: if the format is no raster format, or a band holds complex numbers.
    Raises Conflict, StoreUnavailable, StoreDenied: if the source is read by ranges, and the object
    was replaced, or the store does not answer or refuses access.
    """
    folder = RangedFolder(source.ranged) if source.ranged else None
    with (
        _store_errors(folder),
        gdal_environment(partial_tiles=partial_tiles),
        reading_errors(source.display_name),
        _open(source, folder) as dataset,
    ):
        yield dataset


@contextmanager
def open_cog(path: Path) -> Iterator[DatasetReader]:
    """Open a COG that the platform wrote. Raises rasterio's own errors."""
    with gdal_environment(), rasterio.open(path, driver="GTiff", sharing=False) as cog:
        yield cog


@contextmanager
def reading_errors(display_name: str) -> Iterator[None]:
    """Translate errors of rasterio and GDAL into SourceTruncated or SourceUnreadable."""
    try:
        yield
    except PlatformError:
        raise
    except UnicodeDecodeError as error:
        raise SourceUnreadable(
            f"A text in the header of {display_name!r} or in a sidecar is not UTF-8.",
            remedy="Leave out its .prj and .aux.xml, and give the coordinate reference system "
            "with `input_crs`.",
        ) from error
    except gdal_error_types() as error:
        raise source_error(display_name, error) from error


def source_error(display_name: str, error: BaseException) -> SourceTruncated | SourceUnreadable:
    """Return SourceTruncated if GDAL reports damaged blocks, else SourceUnreadable.

    The details of the error hold GDAL's message.
    """
    chain = [error, error.__cause__, error.__context__]
    text = " ".join(str(link) for link in chain if link is not None)
    if reports_damaged_blocks(text):
        return SourceTruncated(
            f"{display_name!r} could not be read to its end: some blocks of pixels are missing or "
            "damaged.",
            gdal=text[:500],
        )
    return SourceUnreadable(f"{display_name!r} could not be read as a raster.", gdal=text[:500])


@contextmanager
def _store_errors(folder: "RangedFolder | None") -> Iterator[None]:
    """Raise the store's error in place of GDAL's, which sees only a short or missing file."""
    try:
        yield
    except Exception:
        if folder is not None:
            folder.raise_store_error()
        raise
    if folder is not None:
        folder.raise_store_error()


def _open(source: OpenableSource, folder: "RangedFolder | None") -> DatasetReader:
    drivers = FORMATS[source.format].rasterio_drivers
    if not drivers:
        raise UnsupportedFormat(
            f"{source.display_name!r} is {source.format.value}, which is not a raster format."
        )
    failure: RasterioIOError | None = None
    for driver in drivers:
        try:
            return _with_usable_bands(source, _open_with(driver, source, folder))
        except RasterioIOError as error:
            failure = failure or error
    raise source_error(source.display_name, failure or RasterioIOError("no driver")) from failure


def _open_with(driver: str, source: OpenableSource, folder: "RangedFolder | None") -> DatasetReader:
    # The profile refuses a missing geotransform with a code and a remedy; the warning adds nothing.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(
            source.gdal_path, driver=driver, sharing=False, opener=folder, **source.driver_options
        )


def _with_usable_bands(source: OpenableSource, dataset: DatasetReader) -> DatasetReader:
    """Return the dataset, or close it and refuse it if a COG cannot hold its bands."""
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
            f"Bands {complex_bands} of {source.display_name!r} hold complex numbers, which are not "
            "supported.",
            remedy="Export amplitude and phase, or real and imaginary parts, as separate bands.",
        )
    raise SourceUnreadable(f"{source.display_name!r} has no raster bands.")


class RangedFolder(FileContainer):  # type: ignore[misc]  # rasterio has no types
    """A read-only folder that GDAL sees, holding the files of one source by base name.

    GDAL calls the folder from C, where a Python exception cannot propagate. If the store fails, the
    folder therefore keeps the error and GDAL gets an empty read; `open_raster` then raises the
    first kept error. Without this, a network error would look like a damaged file or a missing
    mask.
    """

    def __init__(self, files: Mapping[str, RangedFile]) -> None:
        self._files = files
        self._store_errors: list[Exception] = []

    def raise_store_error(self) -> None:
        """Raise the first error that the store raised, if any."""
        if self._store_errors:
            raise self._store_errors[0]

    def open(self, path: str, mode: str = "r", **_: Any) -> "_FileView":
        name = _base_name(path)
        if name not in self._files or mode.startswith(("w", "a")) or "+" in mode:
            raise FileNotFoundError(path)
        view = _TextFileView if name.endswith(_TEXT_SUFFIXES) else _FileView
        return view(self._files[name], self._store_errors)

    def isfile(self, path: str) -> bool:
        return _base_name(path) in self._files

    def isdir(self, path: str) -> bool:
        return False

    def ls(self, path: str) -> list[str]:
        return sorted(self._files)

    def mtime(self, path: str) -> int:
        return 0

    def size(self, path: str) -> int:
        return self._files[_base_name(path)].size_bytes

    def rm(self, path: str) -> None:
        raise PermissionError(path)


class _FileView(io.RawIOBase):
    """One opening of a file, with its own position. All openings of the file share one stream."""

    def __init__(self, file: RangedFile, store_errors: list[Exception]) -> None:
        super().__init__()
        self._file = file
        self._store_errors = store_errors
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {
            io.SEEK_SET: 0,
            io.SEEK_CUR: self._position,
            io.SEEK_END: self._file.size_bytes,
        }
        self._position = offset + start[whence]
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        # After one error, every further read would fail too, each after its own timeout.
        if self._store_errors:
            return b""
        try:
            with self._file.lock:
                self._file.stream.seek(self._position)
                content = self._file.stream.read(-1 if size is None else size)
        except Exception as error:  # noqa: BLE001  # open_raster raises it
            self._store_errors.append(error)
            return b""
        self._position += len(content)
        return content


class _TextFileView(_FileView):
    """A file that GDAL reads line by line. GDAL reads a single byte only to test for the end."""

    def read(self, size: int | None = -1) -> bytes:
        if size != 1:
            return super().read(size)
        reply = end_of_file_reply(self._position, self._file.size_bytes)
        self._position += len(reply)
        return reply


def _base_name(path: str) -> str:
    return path.rpartition("/")[2]
