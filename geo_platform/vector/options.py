"""Options of the vector stages."""

from enum import StrEnum

from pydantic import Field

from geo_platform.options import Options


class FileExtension(StrEnum):
    """The format that the client expects. A file with other content is refused."""

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
    """Which coordinates are kept. Measures (M) are always dropped."""

    xy = "xy"
    keep = "keep"


class MixedGeometry(StrEnum):
    """What to do with a layer that mixes points, lines and polygons.

    Single and multi parts of one of these do not count as a mix.
    """

    refuse = "refuse"
    keep = "keep"


class LoadMode(StrEnum):
    """What to do if a dataset of this name exists."""

    update = "update"
    create = "create"
    replace = "replace"  # type: ignore[assignment]  # hides str.replace, which is never called on a mode
    append = "append"


class VectorProfileOptions(Options):
    """Options of vector_profile."""

    file_extension: FileExtension = Field(
        FileExtension.auto,
        description="Expected format of the file. Refused if its content is of another format.",
    )
    layer_name: str | None = Field(
        None,
        description="Layer to read if the file has several (also kml_name, shp_name).",
    )
    input_crs: str | None = Field(
        None,
        description="CRS of the source if the file has none, for example EPSG:31370. "
        "Refused if it differs from the file's.",
    )
    override_crs: bool = Field(
        False, strict=True, description="Use input_crs even if the file has another CRS."
    )
    encoding: str | None = Field(
        None,
        description="Text encoding if the file has none or a wrong one, for example CP1252.",
    )
    lon_name: str | None = Field(None, description="CSV: column of the longitude or easting.")
    lat_name: str | None = Field(None, description="CSV: column of the latitude or northing.")
    wkt_column: str | None = Field(None, description="CSV: column of the geometry as WKT.")


class VectorFeaturesOptions(Options):
    """Options of vector_features."""

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
        description="If the dataset exists: update replaces it if it is from the same source, "
        "create refuses, replace replaces it in any case, append adds the rows (database).",
    )
    key_columns: list[str] = Field(
        default_factory=list,
        description="Published columns that identify a row: append replaces rows with equal values.",
    )
    overwrite: bool = Field(False, strict=True, description="Same as load_mode replace.")
    target_crs: str | None = Field(
        None,
        description="CRS to reproject to, for example EPSG:4326. Default: keep the source's.",
    )
    dimension: Dimension = Field(Dimension.xy, description="xy drops Z, keep keeps it.")
    mixed_geometry: MixedGeometry = Field(
        MixedGeometry.refuse, description="Refuse or keep a layer with mixed geometry types."
    )
    column_mapping: dict[str, str] = Field(
        default_factory=dict,
        description="Source column to published column; other names are cleaned by rule.",
    )
    indexes_spatial: bool = Field(
        True,
        strict=True,
        description="Build a spatial index (database). Files are always sorted spatially.",
    )
    indexes_attributes: list[str] = Field(
        default_factory=list, description="Published columns to index (database)."
    )
    indexes_temporal: list[str] = Field(
        default_factory=list, description="Published time columns to index (database)."
    )
    simplify_tolerance: float | None = Field(
        None,
        strict=True,
        gt=0,
        description="Douglas-Peucker tolerance in units of the published CRS. "
        "Keeps the topology of each geometry.",
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
        description="Maximum rows per batch. The platform uses smaller batches to limit memory.",
    )

    @property
    def mode(self) -> LoadMode:
        """Return `load_mode`, or `replace` if `overwrite` is set."""
        return LoadMode.replace if self.overwrite else self.load_mode
