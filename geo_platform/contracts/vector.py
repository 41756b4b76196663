"""Messages of the vector chain: VectorProfiled, then FeaturesLoaded.

Used throughout the application.
"""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from geo_platform.contracts.arrival import ObjectArrived
from geo_platform.contracts.message import (
    Finding,
    Message,
    ObjectReference,
    Part,
    SpatialReference,
    TableReference,
)
from geo_platform.contracts.stored import Content, upgrades
from geo_platform.grid import Bounds, LonLatBounds


class FieldType(StrEnum):
    boolean = "boolean"
    int16 = "int16"
    int32 = "int32"
    int64 = "int64"
    float32 = "float32"
    float64 = "float64"
    string = "string"
    date = "date"
    time = "time"
    timestamp = "timestamp"
    binary = "binary"
    json = "json"


class FieldOrigin(StrEnum):
    """How the values of a column are read."""

    driver = "driver"
    driver_text = "driver_text"
    feature_id = "feature_id"
    file = "file"


class SourceField(Part):
    name: str = Field(description="name as in the file; never used as part of a command")
    type: FieldType
    source_type: str = Field(description="name of the type in the source format")
    is_utc: bool = Field(
        default=False,
        description="for timestamps: True for UTC, False for a local time of an unknown zone",
    )
    origin: FieldOrigin = Field(
        default=FieldOrigin.driver,
        description="driver: as the driver returns them; driver_text: times that the driver "
        "returns as text; feature_id: the driver's ids of features; file: read without the driver",
    )


class VectorLayer(Part):
    name: str
    geometry_type: str | None = Field(description="None if the layer has no geometry")


class VectorProfiled(Message):
    """The source and the selected layer were described, or all its layers if all are taken."""

    schema_version: ClassVar[int] = 2

    source: ObjectArrived
    driver: str
    layers: tuple[VectorLayer, ...]
    layer: str
    geometry_types: tuple[str, ...] = Field(
        description="OGC names as declared or sampled, for example MultiPolygon Z"
    )
    feature_count: int | None = Field(description="None if only a full read gives the number")
    crs: SpatialReference
    fields: tuple[SourceField, ...]
    columns: tuple[str, ...] = Field(
        description="every column of the layer besides its geometry, as the file lists them: each "
        "is one of the fields, or a warning names it"
    )
    geometry_column: str | None
    geometry_from: str = Field(description="geometry | wkt_column | lon_lat_columns")
    lon_lat_columns: tuple[str, str] | None
    extent: Bounds | None = Field(
        description="of the rows that were sampled, in the CRS of the source; None if none had one"
    )
    encoding: str
    has_curves: bool = Field(description="curves are replaced by line segments while reading")
    keeps_foreign_members: bool = Field(
        default=False, description="GeoJSON: foreign members of features are read as fields"
    )
    reads_copy: bool = Field(
        default=False,
        description="GML and KML: the file is read from a copy, in which linked parts of "
        "geometries are inserted and all data of placemarks is in a schema",
    )
    numbers_as_text: tuple[str, ...] = Field(
        default=(),
        description="GeoJSON: members whose numbers, or days that do not exist, are read as text",
    )
    warnings: tuple[Finding, ...]
    fingerprint: str
    layer_suffix: str | None = Field(
        default=None,
        description="how the names of the layer's results end, if the file has several layers with "
        "geometry; else None",
    )
    is_one_of_all: bool = Field(
        default=False, description="all layers are taken: given names get the suffix too"
    )
    other_layers: tuple["VectorProfiled", ...] = Field(
        default=(), description="the further layers, if all layers are taken"
    )


@upgrades(VectorProfiled, from_version=1)
def _with_columns(content: Content) -> Content:
    # Version 1 did not list the columns of the file, did not read foreign members, and supported
    # one layer for each request.
    names = [field["name"] for field in content["fields"]]
    return {**content, "columns": names, "keeps_foreign_members": False, "reads_copy": False}


class FieldMapping(Part):
    """One column: its name in the source and its published name."""

    source: str
    published: str
    type: FieldType
    renamed_because: str | None


class RejectReason(Part):
    reason: str
    rows: int


class LoadedDataset(Part):
    """One dataset of a source: all its rows, or those of one geometry family."""

    dataset: str = Field(description="name of the table or dataset")
    family: str | None = Field(
        description="points | lines | polygons | collections, if the source was split by geometry; "
        "else None"
    )
    geometry_type: str
    rows: int = Field(description="rows inserted by this load")
    bounds: Bounds = Field(description="in the published CRS")
    dataset_object: ObjectReference | None = Field(
        description="the GeoParquet file; None for a table"
    )
    sha256: str | None
    table: TableReference | None = Field(
        description="the table, which is published together with the item; None for a file"
    )


class FeaturesLoaded(Message):
    """The datasets are loaded. Each row of the source is in one of them or in the rejected rows.

    read = inserted + rejected, over all datasets. A source has one dataset, or one for each
    geometry family if it was split.
    """

    schema_version: ClassVar[int] = 3

    source: ObjectArrived
    destination: str = Field(description="geoparquet | postgis")
    dataset: str = Field(
        description="name of the dataset; if the source was split, the start of all names"
    )
    datasets: tuple[LoadedDataset, ...] = Field(min_length=1)
    load_mode: str = Field(description="update | create | replace | append")
    rejected_object: ObjectReference | None = Field(
        description="the table of rejected rows; None if no row was rejected"
    )
    read: int
    inserted: int
    rejected: int
    reject_reasons: tuple[RejectReason, ...]
    repaired: int = Field(description="rows whose geometry was made valid")
    cut: int = Field(description="rows that were cut along the seam of the published CRS")
    linearised: bool
    bounds: Bounds = Field(description="in the published CRS, around all datasets")
    lonlat_bounds: LonLatBounds
    geometry_type: str = Field(description="Geometry if there are datasets of several types")
    dimension: str = Field(description="xy | xyz")
    crs: SpatialReference
    srid: int | None = Field(description="EPSG code; None if no authority defines the CRS")
    was_reprojected: bool
    asked_crs: str | None = Field(
        default=None,
        description="target_crs of the request; None to keep the CRS of the source",
    )
    fields: tuple[FieldMapping, ...]
    thumbnail: ObjectReference
    thumbnail_media_type: str
    warnings: tuple[Finding, ...]
    was_reused: bool
    seconds: float
    fingerprint: str
    layer: str | None = Field(
        default=None, description="the layer of the source; None in messages before version 3"
    )
    layer_suffix: str | None = Field(
        default=None,
        description="how the names of the layer's results end, if the file has several layers with "
        "geometry; else None",
    )
    is_one_of_all: bool = Field(
        default=False, description="all layers are taken: given names get the suffix too"
    )
    other_layers: tuple["FeaturesLoaded", ...] = Field(
        default=(), description="the further layers, if all layers are taken"
    )


@upgrades(FeaturesLoaded, from_version=1)
def _without_tables(content: Content) -> Content:
    # Version 1 supported files only.
    return {**content, "table": None, "load_mode": "update"}


@upgrades(FeaturesLoaded, from_version=2)
def _with_one_dataset_and_without_cuts(content: Content) -> Content:
    # Version 2 supported one dataset for each source. Appended rows are only a part of the table.
    # Rows that cross the seam of the target CRS were not cut.
    moved = ("dataset_object", "sha256", "table")
    dataset = {
        **{name: content[name] for name in (*moved, "dataset", "geometry_type", "bounds")},
        "family": None,
        "rows": content["inserted"],
    }
    kept = {name: value for name, value in content.items() if name not in moved}
    return {**kept, "datasets": [dataset], "cut": 0}
