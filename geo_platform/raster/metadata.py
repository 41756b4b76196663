"""Read tags of a raster: the domains that describe its content, and the acquisition time.

For copying tags into the COG see `intermediate.py` and `write.py`. The catalog, not this module,
reads an acquisition time in the name of a file.

Used by `raster`.
"""

import re
from datetime import UTC, datetime

from rasterio.io import DatasetReader

_GML_DOMAIN = "xml:gml.root-instance"
_OFFSET_VECTOR = re.compile(r"offsetVector[^>]*>([^<]*)<")
_MINUS = re.compile(r"(?<![eE])-")  # apart from an exponent's

# Metadata domains that describe the file, not its content.
FILE_DOMAINS = (
    "IMAGE_STRUCTURE",
    "DERIVED_SUBDATASETS",
    "SUBDATASETS",
    "COLOR_PROFILE",
    "RPC",
    "GEOLOCATION",
    "TIFF",
)


def other_domains(dataset: DatasetReader) -> tuple[str, ...]:
    """Return the domains that hold plain tags about the content, without the default domain."""
    return tuple(
        name
        for name in dataset.tag_namespaces()
        if name not in FILE_DOMAINS and not name.startswith("xml:")
    )


def has_band_tags(dataset: DatasetReader) -> bool:
    """Return whether a band has tags other than statistics that GDAL computed."""
    return any(
        not key.startswith("STATISTICS_") for band in dataset.indexes for key in dataset.tags(band)
    )


def color_table(dataset: DatasetReader, band: int) -> dict[int, tuple[int, int, int, int]]:
    """Return the band's colours (red, green, blue, alpha) by value; empty without a colour table.

    A band may be marked as palette and yet have no table.
    """
    try:
        return dict(dataset.colormap(band))
    except ValueError:
        return {}


# (domain, name), the most reliable first. TIFF's DateTime (tag 306) is the time of writing, but
# many files have no other time.
_TIME_TAGS = (
    ("IMAGERY", "ACQUISITIONDATETIME"),
    (None, "ACQUISITIONDATETIME"),
    (None, "ACQUISITION_DATE"),
    (None, "DATE_ACQUIRED"),
    (None, "EXIF_DateTimeOriginal"),
    ("EXIF", "EXIF_DateTimeOriginal"),
    (None, "TIFFTAG_DATETIME"),
)

_TIME_PATTERN = re.compile(r"^\s*(\d{4})[:\-/](\d{2})[:\-/](\d{2})(?:[T ](\d{2}):(\d{2}):(\d{2}))?")


def acquisition_time(dataset: DatasetReader) -> tuple[str | None, str | None]:
    """Return (acquisition time as RFC 3339, name of the tag), or (None, None) if no tag has a time.

    These tags have no time zone; UTC is assumed. A tag without a plausible time is skipped.
    """
    domains = set(dataset.tag_namespaces())
    for domain, name in _TIME_TAGS:
        if domain is not None and domain not in domains:
            continue
        text = dataset.tags(ns=domain).get(name) if domain else dataset.tags().get(name)
        time = _rfc3339(text) if text else None
        if time:
            return time, name
    return None, None


def _rfc3339(text: str) -> str | None:
    match = _TIME_PATTERN.match(text)
    if not match:
        return None
    try:
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups())
        time = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ") if time.year >= 1900 else None


def contradicts_gml(dataset: DatasetReader) -> bool:
    """Return whether a JPEG 2000 has the south up in its GML, and the north in its GeoTIFF part.

    GDAL writes such files: it drops the sign of a pixel's height in the part that it reads first.
    """
    if "JP2" not in dataset.driver or _GML_DOMAIN not in dataset.tag_namespaces():
        return False
    texts = _OFFSET_VECTOR.findall(" ".join(dataset.tags(ns=_GML_DOMAIN).values()))
    # With the north up, one offset is negative, whatever the order of axes and vectors.
    has_negative = any(_MINUS.search(text) for text in texts)
    return bool(texts) and not has_negative and dataset.transform.e < 0
