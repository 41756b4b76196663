"""The first message of both chains."""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from geo_platform.contracts.message import Message, ObjectReference, Part, UtcTime
from geo_platform.contracts.stored import Content, upgrades


class SourceKind(StrEnum):
    raster = "raster"
    vector = "vector"


class SourceFormat(StrEnum):
    """The supported formats, as decided by content. Their drivers, media types and extensions: `source/formats.py`."""

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

    path: str = Field(description="inside the archive, forward slashes; data, never a command")
    size_bytes: int


class ObjectArrived(Message):
    """An object lies in the store and its kind is known from its bytes, not from its name."""

    uri: str
    container: str
    key: str
    etag: str = Field(description="of the object and its sidecars together")
    size_bytes: int
    last_modified_utc: UtcTime
    media_type: str = Field(description="by content")
    kind: SourceKind
    format: SourceFormat
    archive_member: ArchiveMember | None = Field(
        description="what is read, when the object is an archive"
    )
    sidecars: tuple[ObjectReference, ...] = Field(
        description="world file, .aux.xml, the parts of a shapefile"
    )
    force: bool = Field(default=False, description="the request asks for the work to be done again")
    fingerprint: str = Field(
        description="of the etag and the request so far; each stage extends it"
    )


class RunAsked(Message):
    """A run was asked for because of an arrival: a receipt. Whether that run exists and how it stands, Dagster alone says."""

    schema_version: ClassVar[int] = 2

    uri: str
    etag: str = Field(description="of the object and its sidecars together")
    watch: str
    run_key: str = Field(description="the tag dagster/run_key of the run")
    asked_at_utc: UtcTime = Field(description="by the clock of who asked")
    waits_at: str = Field(
        default="",
        description="message that lies there until a client's run exists; empty where a watch asked",
    )


@upgrades(RunAsked, from_version=1)
def _asked_by_a_watch(content: Content) -> Content:
    """Before that nobody but watches took receipts."""
    return {**content, "waits_at": ""}


class QuarantinedPart(Part):
    """One object of a refused arrival, as it lay when it was refused."""

    key: str
    etag: str = Field(description="while it lay where it came from; by moving it got another")
    size_bytes: int
    metadata: dict[str, str] = Field(description="what it gets back when it is released")


class EarlierRefusal(Part):
    """Why an arrival was refused, and what of it was moved."""

    code: str = Field(description="docs/errors.md")
    message: str
    remedy: str
    run_id: str = Field(description="of the run that refused it")
    watch: str
    uri: str = Field(description="of the object before it was moved")
    container: str = Field(description="where it came from and goes back to")
    key: str
    etag: str = Field(description="of the object and its sidecars together, as they were refused")
    quarantined_at_utc: UtcTime = Field(description="by the clock of who moved it")
    parts: tuple[QuarantinedPart, ...] = Field(description="the object, then its sidecars")


class ObjectQuarantined(EarlierRefusal, Message):
    """An arrival that was refused lies in quarantine, under the same key."""

    replaced: EarlierRefusal | None = Field(
        description="what lay in quarantine under that key before: refused too, overwritten since"
    )
