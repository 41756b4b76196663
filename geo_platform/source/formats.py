"""The supported formats: their names, media types, extensions and drivers.

For detecting a format see `sniff.py` and `recognise/`; for limiting pyogrio to the supported
drivers see `vector_drivers.py`.

Used throughout the application.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from geo_platform.contracts.arrival import SourceFormat, SourceKind


@dataclass(frozen=True)
class FormatRule:
    """One row of docs/formats.md. Extensions are lower case with their dot.

    An extension alone never decides the format. `ogr_driver` is None for rasters and for
    GeoParquet, which pyarrow reads.
    """

    label: str
    kind: SourceKind
    media_type: str
    extensions: tuple[str, ...]
    rasterio_drivers: tuple[str, ...] = ()
    ogr_driver: str | None = None

    @property
    def canonical_extension(self) -> str:
        """Return the extension under which the source is given to a driver."""
        return self.extensions[0]


def _raster(label: str, media_type: str, extensions: tuple[str, ...], driver: str) -> FormatRule:
    return FormatRule(label, SourceKind.raster, media_type, extensions, rasterio_drivers=(driver,))


def _vector(
    label: str, media_type: str, extensions: tuple[str, ...], driver: str | None
) -> FormatRule:
    return FormatRule(label, SourceKind.vector, media_type, extensions, ogr_driver=driver)


FORMATS: Mapping[SourceFormat, FormatRule] = MappingProxyType(
    {
        SourceFormat.geotiff: _raster(
            "GeoTIFF",
            "image/tiff; application=geotiff",
            (".tif", ".tiff", ".gtiff", ".btf"),
            "GTiff",
        ),
        SourceFormat.jpeg2000: _raster(
            "JPEG 2000",
            "image/jp2",
            (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
            "JP2OpenJPEG",
        ),
        SourceFormat.erdas_imagine: _raster(
            "Erdas Imagine", "application/x-erdas-hfa", (".img",), "HFA"
        ),
        SourceFormat.esri_ascii_grid: _raster(
            "ESRI ASCII grid", "text/plain", (".asc", ".grd", ".txt"), "AAIGrid"
        ),
        SourceFormat.srtm_hgt: _raster("SRTM HGT", "application/x-srtm-hgt", (".hgt",), "SRTMHGT"),
        SourceFormat.png: _raster("PNG", "image/png", (".png",), "PNG"),
        SourceFormat.jpeg: _raster("JPEG", "image/jpeg", (".jpg", ".jpeg"), "JPEG"),
        SourceFormat.geopackage: _vector(
            "GeoPackage", "application/geopackage+sqlite3", (".gpkg",), "GPKG"
        ),
        SourceFormat.shapefile: _vector(
            "Shapefile", "application/vnd.shp", (".shp",), "ESRI Shapefile"
        ),
        SourceFormat.geojson: _vector(
            "GeoJSON", "application/geo+json", (".geojson", ".json"), "GeoJSON"
        ),
        SourceFormat.geojson_lines: _vector(
            "newline-delimited GeoJSON",
            "application/geo+json-seq",
            (
                ".geojsonl",
                ".geojsons",
                ".ndgeojson",
                ".ndjson",
                ".jsonl",
                ".nlgeojson",
                ".geojson",
                ".json",
            ),
            "GeoJSONSeq",
        ),
        SourceFormat.flatgeobuf: _vector(
            "FlatGeobuf", "application/vnd.flatgeobuf", (".fgb",), "FlatGeobuf"
        ),
        SourceFormat.geoparquet: _vector(
            "GeoParquet", "application/vnd.apache.parquet", (".parquet", ".geoparquet", ".pq"), None
        ),
        SourceFormat.kml: _vector(
            "KML", "application/vnd.google-earth.kml+xml", (".kml", ".kmz"), "LIBKML"
        ),
        SourceFormat.gml: _vector("GML", "application/gml+xml", (".gml", ".xml"), "GML"),
        SourceFormat.csv: _vector("CSV", "text/csv", (".csv", ".tsv", ".txt"), "CSV"),
        SourceFormat.osm_pbf: _vector(
            "OSM PBF", "application/vnd.openstreetmap.data+pbf", (".osm.pbf", ".pbf"), "OSM"
        ),
        SourceFormat.file_geodatabase: _vector(
            "File Geodatabase", "application/x-filegdb", (".gdb",), "OpenFileGDB"
        ),
    }
)

ZIP_MEDIA_TYPE = "application/zip"
# Media types of archives. The fields `format` and `archive_member` describe the dataset in it.
KMZ_MEDIA_TYPE = "application/vnd.google-earth.kmz"
