"""The table of supported formats: what they are called, by whom, and which driver may open them.

What belongs here: facts about formats. What stays out: recognising one (`sniff.py`) and opening one (`staging.py`).

Only the supported vector formats' drivers stay registered in pyogrio's GDAL. pyogrio cannot name a driver per opening.

rasterio can, and does (`raster/open.py`), so its GDAL keeps its drivers. Both are switched off the network by settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pyogrio

from geo_platform.contracts.arrival import SourceFormat, SourceKind
from geo_platform.source.pyogrio_internals import register_drivers


@dataclass(frozen=True)
class FormatRule:
    """One row of docs/formats.md. Extensions are lower case with their dot; they never decide alone what a file is.

    `ogr_driver` is None for rasters and for GeoParquet, which pyarrow reads.
    """

    label: str
    kind: SourceKind
    media_type: str
    extensions: tuple[str, ...]
    rasterio_drivers: tuple[str, ...] = ()
    ogr_driver: str | None = None

    @property
    def canonical_extension(self) -> str:
        """The one that a staged source carries."""
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
# Of an object that is an archive: what is read in it is said by the format and the archive member.
KMZ_MEDIA_TYPE = "application/vnd.google-earth.kmz"


# KML stands in where LIBKML is not built in; MEM is where GDAL itself puts what it derives.
VECTOR_DRIVERS = frozenset(rule.ogr_driver for rule in FORMATS.values() if rule.ogr_driver) | {
    "KML",
    "MEM",
    "Memory",
}


# GDAL's own HTTP client gets a proxy where nobody listens (the discard port of this machine);
# /vsicurl gets no names.
OFFLINE_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".nothing-remote-is-ever-read",
        "GDAL_HTTP_PROXY": "127.0.0.1:9",
        "GDAL_HTTP_TIMEOUT": "1",
        "GDAL_HTTP_CONNECTTIMEOUT": "1",
        "GDAL_HTTP_MAX_RETRY": "0",
    }
)


def restrict_vector_drivers() -> None:
    """Remove every driver not in VECTOR_DRIVERS from this process's pyogrio. Idempotent and cheap.

    GDAL applies the option GDAL_SKIP when it registers its drivers, so they are registered again
    (docs/decisions/0006). Raises RuntimeError: a driver that should be gone is still registered.
    """
    pyogrio.set_gdal_config_options(dict(OFFLINE_SETTINGS))
    superfluous = set(pyogrio.list_drivers()) - VECTOR_DRIVERS
    if superfluous:
        pyogrio.set_gdal_config_options({"GDAL_SKIP": ",".join(sorted(superfluous))})
        register_drivers()
        remaining = set(pyogrio.list_drivers()) - VECTOR_DRIVERS
        if remaining:
            raise RuntimeError(
                f"drivers that should be gone are still registered in pyogrio: {sorted(remaining)}"
            )
