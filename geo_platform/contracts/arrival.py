"""Messages about arrivals: the first message of both chains, receipts, and quarantine.

An arrival is a complete source (a file with its sidecars) in a watched container. A receipt records
that a run was requested for an arrival. Quarantine is the container of refused arrivals.

Used throughout the application.
"""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from geo_platform.contracts.message import Message, ObjectReference, Part, UtcTime
from geo_platform.contracts.stored import Content, upgrades


class SourceKind(StrEnum):
    raster = "raster"
    vector = "vector"


class SourceFormat(StrEnum):
    """The supported formats, which are detected by content; `source/formats.py` has the details."""

    geotiff = "geotiff"
    jpeg2000 = "jpeg2000"
    erdas_imagine = "erdas_imagine"
    esri_ascii_grid = "esri_ascii_grid"
    srtm_hgt = "srtm_hgt"
    png = "png"
    jpeg = "jpeg"
    geopackage = "geopackage"
    shapefile = "shapefile"
    geojson = "geojson"
    geojson_lines = "geojson_lines"
    flatgeobuf = "flatgeobuf"
    geoparquet = "geoparquet"
    kml = "kml"
    gml = "gml"
    csv = "csv"
    osm_pbf = "osm_pbf"
    file_geodatabase = "file_geodatabase"


class ArchiveMember(Part):
    """A dataset in an archive, which is read without unpacking the archive."""

    path: str = Field(
        description="path inside the archive, with forward slashes; never used as part of a command"
    )
    size_bytes: int


class ObjectArrived(Message):
    """A source is in the store, and its kind and format were detected from its bytes."""

    uri: str
    container: str
    key: str
    etag: str = Field(description="combined from the etags of the object and its sidecars")
    size_bytes: int
    last_modified_utc: UtcTime
    media_type: str = Field(description="detected from the content")
    kind: SourceKind
    format: SourceFormat
    archive_member: ArchiveMember | None = Field(
        description="the dataset that is read, if the object is an archive"
    )
    sidecars: tuple[ObjectReference, ...] = Field(
        description="world file, .aux.xml, the parts of a Shapefile"
    )
    force: bool = Field(
        default=False, description="process the source again, even if a result exists already"
    )
    fingerprint: str = Field(
        description="hash of the etag, the options and the stage version; each stage extends it"
    )


class RunAsked(Message):
    """A receipt: a run was requested for an arrival. Only Dagster knows the status of the run."""

    schema_version: ClassVar[int] = 2

    uri: str
    etag: str = Field(description="combined from the etags of the object and its sidecars")
    watch: str
    run_key: str = Field(description="the tag dagster/run_key of the run")
    asked_at_utc: UtcTime = Field(description="by the clock of the requester")
    waits_at: str = Field(
        default="",
        description="key of the message LaunchWaiting, kept until the client's run exists; "
        "empty for a run that a watch requested",
    )


@upgrades(RunAsked, from_version=1)
def _asked_by_a_watch(content: Content) -> Content:
    # Version 1 was written by watches only.
    return {**content, "waits_at": ""}


class QuarantinedPart(Part):
    """One object of a refused arrival, before the move to quarantine."""

    key: str
    etag: str = Field(description="etag before the move; the moved object has another etag")
    size_bytes: int
    metadata: dict[str, str] = Field(
        description="metadata, which is restored when the object is released"
    )


class EarlierRefusal(Part):
    """The reason why an arrival was refused, and the objects that were moved to quarantine."""

    code: str = Field(description="error code, see docs/errors.md")
    message: str
    remedy: str
    run_id: str = Field(description="id of the run that refused the arrival")
    watch: str
    uri: str = Field(description="URI of the object before the move")
    container: str = Field(
        description="container before the move; a release moves the objects back to it"
    )
    key: str
    etag: str = Field(
        description="combined from the etags of the object and its sidecars before the move"
    )
    quarantined_at_utc: UtcTime = Field(
        description="by the clock of the process that moved the objects"
    )
    parts: tuple[QuarantinedPart, ...] = Field(description="the object, then its sidecars")


class ObjectQuarantined(EarlierRefusal, Message):
    """A refused arrival was moved to quarantine, under the same key."""

    replaced: EarlierRefusal | None = Field(
        description="the earlier refusal under the same key, which this one overwrote"
    )
