"""A source that passed the door: what a driver may be given."""

from dataclasses import dataclass

from geo_platform.contracts.arrival import SourceFormat


@dataclass(frozen=True)
class OpenableSource:
    """`gdal_path` was composed by the platform (an absolute path or /vsizip/{…}/member), never taken from a user.

    `display_name` is the object's own name: data for messages.
    """

    gdal_path: str
    format: SourceFormat
    display_name: str
