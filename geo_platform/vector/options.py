"""Options of the vector stages vector_profile and vector_features.

Used throughout the application.
"""

from enum import StrEnum

from pydantic import Field

from geo_platform.options import Options

# The value of `layer_name` for all layers.
ALL_LAYERS = "*"


class FileExtension(StrEnum):
    """The format that the client expects, named by a file extension. Other content is refused."""

    auto = "auto"
    csv = "csv"
    geojson = "geojson"
    json = "json"
    gpkg = "gpkg"
    kml = "kml"
    kmz = "kmz"
    shp = "shp"
    zip = "zip"


class Dimension(StrEnum):
    """Which coordinates are published. Measures (M) are always dropped."""

    xy = "xy"
    keep = "keep"


class MixedGeometry(StrEnum):
    """What to do with a layer that mixes points, lines and polygons.

    Points with multipoints, lines with multilines, or polygons with multipolygons are no mix.
    `plan.py` decides what `auto` means for a source.
    """

    auto = "auto"
    split = "split"  # type: ignore[assignment]  # hides str.split, which is never called on an option
    keep = "keep"
    refuse = "refuse"


class LoadMode(StrEnum):
    """What to do if a dataset of the same name exists; `load_mode` describes the values."""

    update = "update"
    create = "create"
    replace = "replace"  # type: ignore[assignment]  # hides str.replace, which is never called on a mode
    append = "append"


class VectorProfileOptions(Options):
    """Options of the stage vector_profile, which describes the source."""

    file_extension: FileExtension = Field(
        FileExtension.auto,
        description="Expected format of the file. "
        "A file with content of another format is refused.",
    )
    layer_name: str | None = Field(
        None,
        description="Layer to read, if the file has several layers. *: every layer with geometry, "
        "an item for each.",
    )
    input_crs: str | None = Field(
        None,
        description="CRS of the source, if the file has none, for example EPSG:31370. "
        "A value that differs from the CRS of the file is refused.",
    )
    override_crs: bool = Field(
        False, strict=True, description="Use input_crs even if the file has another CRS."
    )
    encoding: str | None = Field(
        None,
        description="Text encoding of a CSV file or Shapefile, if it declares none or a wrong one, "
        "for example CP1252.",
    )
    lon_name: str | None = Field(None, description="CSV: column of the longitude or easting.")
    lat_name: str | None = Field(None, description="CSV: column of the latitude or northing.")
    wkt_column: str | None = Field(
        None, description="CSV: column of the geometry as WKT, EWKT or hexadecimal WKB."
    )


class VectorFeaturesOptions(Options):
    """Options of the stage vector_features, which cleans and loads the rows."""

    table_name: str | None = Field(
        None, description="Name of the dataset. Default: derived from the name of the object."
    )
    schema_name: str = Field(
        "geo",
        pattern=r"^[a-z][a-z0-9_]{0,62}$",
        description="Database schema; for files, the folder.",
    )
    load_mode: LoadMode = Field(
        LoadMode.update,
        description="If the dataset exists: update replaces a dataset from the same source and "
        "refuses one from another source; create refuses a dataset of another version or source; "
        "replace replaces any dataset; append adds the rows (database only).",
    )
    key_columns: list[str] = Field(
        default_factory=list,
        description="Published columns that identify a row. append replaces existing rows that "
        "have the same values in these columns.",
    )
    overwrite: bool = Field(False, strict=True, description="Same as load_mode replace.")
    target_crs: str | None = Field(
        None,
        description="CRS to reproject to, for example EPSG:4326. "
        "Default: keep the CRS of the source.",
    )
    dimension: Dimension = Field(Dimension.xy, description="xy: drop heights (Z). keep: keep them.")
    mixed_geometry: MixedGeometry = Field(
        MixedGeometry.auto,
        description="A layer that mixes points, lines and polygons. split: one dataset for each, "
        "in one item. keep: one dataset of all. refuse: refuse the layer. auto: split for GeoJSON, "
        "KML and FlatGeobuf, refuse for other formats and for load_mode append.",
    )
    column_mapping: dict[str, str] = Field(
        default_factory=dict,
        description="Maps a source column to a published name. Other columns get names in "
        "lower-case snake case (docs/vector.md).",
    )
    indexes_spatial: bool = Field(
        True,
        strict=True,
        description="Build a spatial index (database only). Files are always sorted spatially.",
    )
    indexes_attributes: list[str] = Field(
        default_factory=list, description="Published columns to index (database only)."
    )
    indexes_temporal: list[str] = Field(
        default_factory=list,
        description="Published date and time columns to index (database only).",
    )
    simplify_tolerance: float | None = Field(
        None,
        strict=True,
        gt=0,
        description="Douglas-Peucker tolerance in units of the published CRS. "
        "A simplified geometry stays valid.",
    )
    quantize_grid: float | None = Field(
        None,
        strict=True,
        gt=0,
        description="Snap coordinates to a grid of this size in units of the published CRS.",
    )
    chunk_size: int = Field(
        65536,
        strict=True,
        ge=1,
        le=1_000_000,
        description="Maximum rows per batch. Values above 8192 have the effect of 8192, to limit "
        "memory.",
    )

    @property
    def mode(self) -> LoadMode:
        """Return `load_mode`, or `replace` if `overwrite` is set."""
        return LoadMode.replace if self.overwrite else self.load_mode
