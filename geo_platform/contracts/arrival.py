"""Messages about arrivals: the first of both chains, receipts of requested runs, quarantine."""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from geo_platform.contracts.message import Message, ObjectReference, Part, UtcTime
from geo_platform.contracts.stored import Content, upgrades


class SourceKind(StrEnum):
    raster = "raster"
    vector = "vector"


class SourceFormat(StrEnum):
    """The supported formats, detected by content; `source/formats.py` has the details."""

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
    """A member of an archive that is read in place."""

    path: str = Field(description="inside the archive, with forward slashes; data, never a command")
    size_bytes: int


class ObjectArrived(Message):
    """An object is in the store, and its kind and format were detected from its bytes."""

    uri: str
    container: str
    key: str
    etag: str = Field(description="over the object and its sidecars")
    size_bytes: int
    last_modified_utc: UtcTime
    media_type: str = Field(description="by content")
    kind: SourceKind
    format: SourceFormat
    archive_member: ArchiveMember | None = Field(
        description="the dataset that is read, if the object is an archive"
    )
    sidecars: tuple[ObjectReference, ...] = Field(
        description="world file, .aux.xml, the parts of a Shapefile"
    )
    force: bool = Field(default=False, description="do the work again, even if nothing changed")
    fingerprint: str = Field(
        description="hash of the etag and the options so far; each stage extends it"
    )


class RunAsked(Message):
    """A receipt: a run was requested for an arrival. Only Dagster knows whether and how it runs."""

    schema_version: ClassVar[int] = 2

    uri: str
    etag: str = Field(description="over the object and its sidecars")
    watch: str
    run_key: str = Field(description="the tag dagster/run_key of the run")
    asked_at_utc: UtcTime = Field(description="by the clock of the requester")
    waits_at: str = Field(
        default="",
        description="key of a message that exists until the client's run does; empty for a watch",
    )


@upgrades(RunAsked, from_version=1)
def _asked_by_a_watch(content: Content) -> Content:
    # Version 1 was written by watches only.
    return {**content, "waits_at": ""}


class QuarantinedPart(Part):
    """One object of a refused arrival, as it was when it was refused."""

    key: str
    etag: str = Field(description="before it was moved, which gave it another one")
    size_bytes: int
    metadata: dict[str, str] = Field(description="restored when it is released")


class EarlierRefusal(Part):
    """Why an arrival was refused, and which objects were moved."""

    code: str = Field(description="error code, see docs/errors.md")
    message: str
    remedy: str
    run_id: str = Field(description="of the run that refused it")
    watch: str
    uri: str = Field(description="of the object before it was moved")
    container: str = Field(description="where it came from and is released to")
    key: str
    etag: str = Field(description="over the object and its sidecars, when they were refused")
    quarantined_at_utc: UtcTime = Field(description="by the clock of the process that moved it")
    parts: tuple[QuarantinedPart, ...] = Field(description="the object, then its sidecars")


class ObjectQuarantined(EarlierRefusal, Message):
    """A refused arrival was moved to quarantine, under the same key."""

    replaced: EarlierRefusal | None = Field(
        description="the earlier refusal under the same key, which this one overwrote"
    )
