"""Undocumented behaviour of rasterio and GDAL that raster stages rely on: one function each.

Each docstring gives the reason and what would replace the function. The behaviour is pinned by
tests/unit/raster/test_rasterio_internals.py, and no other module imports `rasterio._*`.
Checked with rasterio 1.4 and GDAL 3.10.

Used by `raster` and `serving/raster`.
"""

import re
from pathlib import Path
from xml.etree import ElementTree

import rasterio.shutil
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader, MemoryFile

_DAMAGED_BLOCKS = re.compile(
    r"ReadEncoded|IReadBlock|TIFFFill|read failed|read error|failed to read|cannot read|"
    r"unexpected end|premature|truncat|not enough|corrupt|decod|tile-part|too short|"
    r"file too short|inflate|libpng|scanline|bytes at|EOF",
    re.IGNORECASE,
)

_FAILED_WRITE = re.compile(
    r"no space|disk full|WriteEncoded|TIFFAppend|TIFFRewrite|TIFFWrite|fwrite|cannot write|"
    r"failed to write|write error|permission",
    re.IGNORECASE,
)


def gdal_error_types() -> tuple[type[Exception], ...]:
    """Return the base classes of everything that rasterio raises about a dataset.

    Why: `rasterio.shutil.copy` raises GDAL's own errors, whose base class is private. See
    docs/decisions/0007-rasterio-error-class.md.
    Replace with: `RasterioError` alone, once rasterio wraps those errors.
    """
    return RasterioError, CPLE_BaseError


def reports_damaged_blocks(text: str) -> bool:
    """Return whether GDAL's message is about missing or damaged pixels, not a malformed header.

    Why: GDAL has one error class for both, so only the message distinguishes them.
    Replace with: an error class or number of its own, if GDAL adds one.
    """
    return _DAMAGED_BLOCKS.search(text) is not None


def reports_failed_write(text: str) -> bool:
    """Return whether GDAL's message is about writing the destination, not reading the source.

    Why: GDAL raises the same error for an unreadable block and for a full disk.
    Replace with: an error class or number of its own, if GDAL adds one.
    """
    return _FAILED_WRITE.search(text) is not None


def block_cache_setting(size_bytes: int) -> dict[str, int]:
    """Return the `rasterio.Env` option that sets the size of GDAL's block cache.

    Why: rasterio passes the number to GDALSetCacheMax64, which takes bytes. GDAL's own setting of
    this name takes megabytes. With megabytes here, the cache would hold 512 bytes, and every block
    would be decoded many times.
    Replace with: a documented unit in rasterio.
    """
    return {"GDAL_CACHEMAX": size_bytes}


def uncompressed_overviews_setting() -> dict[str, str]:
    """Return the setting that keeps the temporary overviews of the COG driver uncompressed.

    Why: the setting saves about a sixth of the CPU time of a conversion. GDAL does not document it.
    Replace with: nothing; without it, conversion is slower.
    """
    return {"COG_TMP_COMPRESSION": "NONE"}


def virtual_copy(dataset: DatasetReader) -> ElementTree.Element:
    """Return GDAL's description of the dataset (a VRT), which refers to its file.

    Why: it holds what rasterio reads or writes inexactly, above all nodata values of 64 bits, and
    opened again it is the same dataset with another header, without a copy of its pixels.
    Replace with: rasterio's own attributes, once they keep such values.
    """
    with MemoryFile(ext=".vrt") as description:
        rasterio.shutil.copy(dataset, description.name, driver="VRT")
        return ElementTree.fromstring(bytes(description.read()))  # noqa: S314  # GDAL's own text


def exact_nodata_values(dataset: DatasetReader) -> tuple[int | float | None, ...]:
    """Return the nodata value of each band, an integer for a band of integers.

    Why: rasterio returns 64-bit values as floats, and None for 2**64 - 1.
    Replace with: `dataset.nodatavals`, once it is exact.
    """
    texts = [
        band.findtext("NoDataValue") for band in virtual_copy(dataset).findall("VRTRasterBand")
    ]
    return tuple(
        None
        if text is None
        else float(text)
        if "float" in dtype
        else int(float(text))
        if "." in text or "e" in text
        else int(text)
        for text, dtype in zip(texts, dataset.dtypes, strict=True)
    )


def category_names(dataset: DatasetReader) -> tuple[str, ...]:
    """Return the names of the first band's values 0, 1 and so on; "" for a value without a name.

    Why: rasterio does not give GDAL's category names.
    Replace with: an attribute of the dataset, if rasterio adds one.
    """
    band = virtual_copy(dataset).find("VRTRasterBand")
    found = band.find("CategoryNames") if band is not None else None
    return tuple((each.text or "").strip() for each in found) if found is not None else ()


def copy_domains_option() -> dict[str, str]:
    """Return the COG driver's creation option that copies metadata domains other than the default.

    Why: GDAL 3.10 drops these domains by default. With the option it drops the tags of the bands
    instead, so it fits only a dataset whose bands have no tags.
    Replace with: the option for every dataset, once GDAL keeps both.
    """
    return {"COPY_SRC_MDD": "YES"}


def cog_leftovers(destination: Path) -> tuple[Path, ...]:
    """Return every file that an interrupted COG driver may leave: the COG and its temporary files.

    Why: the driver builds overviews in files beside the destination, whose names GDAL does not
    document.
    Replace with: a separate folder for each COG, removed as a whole.
    """
    suffixes = ("", ".ovr.tmp", ".msk.ovr.tmp", ".aux.xml")
    return tuple(Path(f"{destination}{suffix}") for suffix in suffixes)


def end_of_file_reply(position: int, size_bytes: int) -> bytes:
    """Return what a Python file must return when GDAL reads one byte to test for the end of file.

    Why: GDAL reads text files (world files, .prj) line by line and tests after each line whether
    the file has ended. rasterio 1.4 does this by reading one byte and inverts the result: a byte
    means the end. See docs/decisions/0010-rasterio-end-of-file.md.
    Replace with: an ordinary read, once rasterio no longer inverts the result.
    """
    return b"" if position < size_bytes else b"\n"
