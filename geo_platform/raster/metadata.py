"""When a raster was acquired, as its own tags say. File names are read by the catalog, later.

What belongs here: tags. Their zone is never given, so UTC is assumed.

Tags: which of a source's domains say something of its content.

What belongs here: reading tag domains. What stays out: carrying them over (`stage.py`, `write.py`).
"""

import re
from datetime import UTC, datetime

from rasterio.io import DatasetReader

# Metadata domains that describe the source file itself, not its content.
OWN_DOMAINS = (
    "IMAGE_STRUCTURE",
    "DERIVED_SUBDATASETS",
    "SUBDATASETS",
    "COLOR_PROFILE",
    "RPC",
    "GEOLOCATION",
    "TIFF",
)


def other_domains(dataset: DatasetReader) -> tuple[str, ...]:
    """Names of the dataset's own domains of plain tags."""
    return tuple(
        name
        for name in dataset.tag_namespaces()
        if name not in OWN_DOMAINS and not name.startswith("xml:")
    )


def has_band_tags(dataset: DatasetReader) -> bool:
    """Whether a band says more than figures that GDAL computed."""
    return any(
        not key.startswith("STATISTICS_") for band in dataset.indexes for key in dataset.tags(band)
    )


# From the surest to the weakest: TIFF's DateTime (tag 306) is the time of writing, which for many
# files is all there is.
_TAGS = (
    ("IMAGERY", "ACQUISITIONDATETIME"),
    (None, "ACQUISITIONDATETIME"),
    (None, "ACQUISITION_DATE"),
    (None, "DATE_ACQUIRED"),
    (None, "EXIF_DateTimeOriginal"),
    ("EXIF", "EXIF_DateTimeOriginal"),
    (None, "TIFFTAG_DATETIME"),
)

_TIME = re.compile(r"^\s*(\d{4})[:\-/](\d{2})[:\-/](\d{2})(?:[T ](\d{2}):(\d{2}):(\d{2}))?")


def acquired(dataset: DatasetReader) -> tuple[str | None, str | None]:
    """(RFC 3339 time, name of the tag), or (None, None). A tag that is no plausible time is passed over."""
    spaces = set(dataset.tag_namespaces())
    for namespace, name in _TAGS:
        if namespace is not None and namespace not in spaces:
            continue
        text = dataset.tags(ns=namespace).get(name) if namespace else dataset.tags().get(name)
        found = _parsed(text) if text else None
        if found:
            return found, name
    return None, None


def _parsed(text: str) -> str | None:
    match = _TIME.match(text)
    if not match:
        return None
    try:
        time = datetime(*(int(part or 0) for part in match.groups()), tzinfo=UTC)  # type: ignore[arg-type, misc]
    except ValueError:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ") if time.year >= 1900 else None
