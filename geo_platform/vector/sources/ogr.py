"""OGR as this platform opens it: only the driver that the content calls for, options that reach nothing else, errors in its own words.

What belongs here: settings, open options, translation of GDAL's errors and warnings. What stays out: what is read.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyogrio
from pyogrio.errors import (
    CRSError,
    DataLayerError,
    DataSourceError,
    FeatureError,
    FieldError,
    GeometryError,
)

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.contracts.message import Finding
from geo_platform.errors import FieldEncoding, SourceTruncated, SourceUnreadable
from geo_platform.source.formats import FORMATS
from geo_platform.source.openable import OpenableSource
from geo_platform.source.pyogrio_internals import captured_gdal_errors

# Bytes per Arrow batch at which GDAL ends one early, so that fat geometries do not fill the memory.
BATCH_BYTES = 16 * 2**20

DECODED_BY_DRIVER = "as the file states (.cpg or .dbf)"
M_DROPPED = Finding(
    code="M_DROPPED", message="The geometries carry measures (M), which are dropped."
)

# The third makes FlatGeobuf keep to the batch limit: its own Arrow stream ends for good at the
# limit (GDAL 3.12).
_SETTINGS: Mapping[str, str] = {
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "{none}",
    "GML_SKIP_RESOLVE_ELEMS": "ALL",
    "GDAL_DISABLE_READDIR_ON_OPEN": "FALSE",
    "OGR_ARROW_MEM_LIMIT": str(BATCH_BYTES),
    "OGR_FLATGEOBUF_STREAM_BASE_IMPL": "YES",
    "OSM_MAX_TMPFILE_SIZE": "64",
}

# OSM's own index stops at the first node whose id is not above the one before, and the rows end
# there (GDAL 3.12).
_OPEN_OPTIONS: Mapping[SourceFormat, Mapping[str, str]] = {
    SourceFormat.gml: {"DOWNLOAD_SCHEMA": "NO", "WRITE_GFS": "NO"},
    SourceFormat.geopackage: {"IMMUTABLE": "YES"},
    SourceFormat.osm_pbf: {"USE_CUSTOM_INDEXING": "NO"},
}

_MOST_FINDINGS = 20
_DRIVERS_BESIDE: Mapping[SourceFormat, tuple[str, ...]] = {SourceFormat.kml: ("KML",)}
_OGR_FAULTS = (
    DataSourceError,
    DataLayerError,
    FeatureError,
    FieldError,
    GeometryError,
    pa.ArrowException,
    RuntimeError,
    OSError,
)
# GDAL's JSON parser says this of strings too.
_VALUE_TOO_LONG = "Too many characters in number"

_TRUNCATED_SIGNS = (
    "malformed",
    "truncat",
    "unterminated",
    "unclosed",
    "unexpected end",
    "no element found",
    "too short",
    "end of file",
)


def open_options(source: OpenableSource) -> dict[str, str]:
    return dict(_OPEN_OPTIONS.get(source.format, {}))


def settle_gdal() -> None:
    """Settings of pyogrio's own GDAL; rasterio's is another library with settings of its own."""
    pyogrio.set_gdal_config_options(dict(_SETTINGS))


def set_batch_bytes(limit: int) -> None:
    """For streams that are opened from now on. A single feature that is larger ends the stream with an error."""
    pyogrio.set_gdal_config_options({"OGR_ARROW_MEM_LIMIT": str(limit)})


def encoding_to_pass(source: OpenableSource, encoding: str) -> str | None:
    """What pyogrio is told. Told UTF-8, it would set aside a shapefile's own word that the text is something else."""
    return (
        encoding
        if source.format is SourceFormat.shapefile and encoding != DECODED_BY_DRIVER
        else None
    )


@contextmanager
def ogr_errors(display_name: str) -> Iterator[None]:
    """Translate what GDAL and Arrow raise. GDAL's own text goes to the details, since it holds paths of ours."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise FieldEncoding(
            f"A field name of {display_name} is not text in the encoding that the file claims.",
            found=str(error),
        ) from error
    except CRSError as error:
        raise SourceUnreadable(
            f"The coordinate reference system that {display_name} says cannot be understood.",
            remedy="Mend it; of a Shapefile, leave the .prj out and give input_crs.",
            gdal=str(error),
        ) from error
    except _OGR_FAULTS as error:
        text = str(error)
        if _VALUE_TOO_LONG in text:
            raise SourceUnreadable(
                f"{display_name} holds a value of more than 10,000,000 characters, which GDAL does not read from JSON.",
                remedy="Shorten it, or send the data as GeoPackage.",
                gdal=text,
            ) from error
        if any(sign in text.lower() for sign in _TRUNCATED_SIGNS):
            raise SourceTruncated(
                f"{display_name} ends too early or is damaged inside.", gdal=text
            ) from error
        raise SourceUnreadable(
            f"{display_name} cannot be read as {_said(error)}.", gdal=text
        ) from error


def _said(error: BaseException) -> str:
    return "vector data" if isinstance(error, DataSourceError) else "the layer that was asked for"


@contextmanager
def gdal_warnings(found: dict[str, Finding]) -> Iterator[list[str]]:
    """Collect what GDAL says as findings, one per text, instead of writing it to standard error.

    Yields a list that holds, once the context has ended, the errors that GDAL read on from. pyogrio registers its handler
    for the thread that imports it alone; its own way to have one in any thread is the private context used here.
    """
    with warnings.catch_warnings(record=True) as caught, captured_gdal_errors() as errors:
        warnings.simplefilter("always")
        yield errors
    for text in [str(warning.message) for warning in caught] + errors:
        if "Measured (M)" in text:
            found.setdefault(M_DROPPED.message, M_DROPPED)
        elif len(found) < _MOST_FINDINGS:
            found.setdefault(text, Finding(code="GDAL_WARNING", message=text[:300]))


def layer_list(source: OpenableSource, found: dict[str, Finding]) -> list[tuple[str, str | None]]:
    """(name, geometry type or None) of every layer."""
    settle_gdal()
    with ogr_errors(source.display_name), gdal_warnings(found):
        return [
            (str(name), None if kind is None else str(kind))
            for name, kind in pyogrio.list_layers(source.gdal_path)
        ]


def layer_info(
    source: OpenableSource, layer: str, encoding: str | None, found: dict[str, Finding]
) -> dict[str, Any]:
    """pyogrio's description of a layer. Raises SourceUnreadable where another driver answered than the content calls for."""
    settle_gdal()
    with ogr_errors(source.display_name), gdal_warnings(found):
        info: dict[str, Any] = pyogrio.read_info(
            source.gdal_path, layer=layer, encoding=encoding, **open_options(source)
        )
    allowed = (FORMATS[source.format].ogr_driver, *_DRIVERS_BESIDE.get(source.format, ()))
    if info["driver"] not in allowed:
        raise SourceUnreadable(
            f"{source.display_name} was taken for {info['driver']}, not for {FORMATS[source.format].label}."
        )
    return info
