"""When a raster was acquired, as its own tags say. File names are read by the catalog, later.

What belongs here: tags. Their zone is never given, so UTC is assumed.
"""

import re
from datetime import UTC, datetime

from rasterio.io import DatasetReader

_TAGS = (
    ("IMAGERY", "ACQUISITIONDATETIME"),
    (None, "ACQUISITIONDATETIME"),
    (None, "ACQUISITION_DATE"),
    (None, "DATE_ACQUIRED"),
    (None, "EXIF_DateTimeOriginal"),
    ("EXIF", "EXIF_DateTimeOriginal"),
    (None, "TIFFTAG_DATETIME"),
)
"""From the surest to the weakest: TIFF's DateTime (tag 306) is the time of writing, which for many files is all there is."""

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
