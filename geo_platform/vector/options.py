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
        description="What the file is said to be; refused where its content says otherwise.",
    )
    layer_name: str | None = Field(
        None,
        description="Layer to take where the file has more than one (also kml_name, shp_name).",
    )
    input_crs: str | None = Field(
        None,
        description="CRS of the source where the file has none, for example EPSG:31370. One that differs from the file's is refused.",
    )
    override_crs: bool = Field(
        False, strict=True, description="Believe input_crs even where the file says otherwise."
    )
    encoding: str | None = Field(
        None,
        description="Text encoding where the file does not say it or says it wrongly, for example CP1252.",
    )
    lon_name: str | None = Field(None, description="CSV: column of the longitude or easting.")
    lat_name: str | None = Field(None, description="CSV: column of the latitude or northing.")
    wkt_column: str | None = Field(None, description="CSV: column of the geometry as WKT.")


class VectorFeaturesOptions(Options):
    """Options of vector_features."""

    table_name: str | None = Field(
        None, description="Name of the dataset; left out, made from the object's name."
    )
    schema_name: str = Field(
        "geo",
        pattern=r"^[a-z][a-z0-9_]{0,62}$",
        description="Database schema; files have it as a folder.",
    )
    load_mode: LoadMode = Field(
        LoadMode.update,
        description="Where the dataset is there already: update replaces it if it came from the same source, create refuses, replace "
        "replaces any, append adds the rows to it (database).",
    )
    key_columns: list[str] = Field(
        default_factory=list,
        description="Published columns that tell rows apart: append replaces rows that have the same.",
    )
    overwrite: bool = Field(False, strict=True, description="The same as load_mode replace.")
    target_crs: str | None = Field(
        None,
        description="CRS to reproject to, for example EPSG:4326. Left out, the source's own is kept.",
    )
    dimension: Dimension = Field(Dimension.xy, description="xy forces 2D, keep keeps Z.")
    mixed_geometry: MixedGeometry = Field(
        MixedGeometry.refuse, description="refuse or keep a layer of mixed geometry types."
    )
    column_mapping: dict[str, str] = Field(
        default_factory=dict,
        description="Source column to published column; the others are cleaned by rule.",
    )
    indexes_spatial: bool = Field(
        True, strict=True, description="Spatial order (files) or spatial index (database)."
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
        description="Douglas-Peucker tolerance in units of the published CRS, topology of each geometry kept.",
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
        description="Rows per batch at most; the platform cuts them smaller to keep memory flat.",
    )

    @property
    def mode(self) -> LoadMode:
        """Return `load_mode`, or `replace` if `overwrite` is set."""
        return LoadMode.replace if self.overwrite else self.load_mode
