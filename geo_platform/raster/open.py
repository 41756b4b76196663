"""Opening a raster safely: only its format's own drivers, nothing remote, GDAL's errors said in the platform's words.

What belongs here: the way in, and the translation of reading errors. What stays out: deciding the format (`source/`).
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.io import DatasetReader

from geo_platform.errors import PlatformError, SourceTruncated, SourceUnreadable, UnsupportedFormat
from geo_platform.raster.environment import gdal_environment
from geo_platform.raster.ranged import RangedFolder
from geo_platform.source.formats import FORMATS
from geo_platform.source.openable import OpenableSource

_DAMAGED_BLOCKS = re.compile(
    r"ReadEncoded|IReadBlock|TIFFFill|read failed|read error|failed to read|cannot read|unexpected end|premature|truncat|"
    r"not enough|corrupt|decod|tile-part|too short|file too short|inflate|libpng|scanline|bytes at|EOF",
    re.IGNORECASE,
)
"""Texts of GDAL 3.10's drivers for blocks that are missing or damaged, as against a header that makes no sense."""


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
            f"{display_name!r} could not be read to its end: blocks of its pixels are missing or damaged.", gdal=text[:500]
        )
    return SourceUnreadable(f"{display_name!r} could not be read as a raster.", gdal=text[:500])


def _opened(source: OpenableSource, folder: RangedFolder | None) -> DatasetReader:
    drivers = FORMATS[source.format].rasterio_drivers
    if not drivers:
        raise UnsupportedFormat(f"{source.display_name!r} is {source.format.value}, which is no raster format.")
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
    complex_bands = [index for index, dtype in zip(dataset.indexes, dataset.dtypes, strict=True) if "complex" in dtype]
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
