"""Tags: which of a source's domains say something of its content.

What belongs here: reading tag domains. What stays out: carrying them over (`stage.py`, `write.py`).
"""

from rasterio.io import DatasetReader

OWN_DOMAINS = ("IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "COLOR_PROFILE", "RPC", "GEOLOCATION", "TIFF")
"""Metadata domains that describe the source file itself, not its content."""


def other_domains(dataset: DatasetReader) -> tuple[str, ...]:
    """Names of the dataset's own domains of plain tags."""
    return tuple(name for name in dataset.tag_namespaces() if name not in OWN_DOMAINS and not name.startswith("xml:"))


def has_band_tags(dataset: DatasetReader) -> bool:
    """Whether a band says more than figures that GDAL computed."""
    return any(not key.startswith("STATISTICS_") for band in dataset.indexes for key in dataset.tags(band))
