"""The stage vector_profile: describe a vector source, and choose one of its layers.

`sources/` reads each format. `plan.py` decides what is published.

Called by `layers.py`.
"""

import codecs
from pathlib import Path

from pyproj import CRS

from geo_platform.contracts.arrival import ObjectArrived, SourceFormat
from geo_platform.contracts.vector import VectorProfiled
from geo_platform.errors import NoGeometry, ParameterInvalid, UnsupportedFormat
from geo_platform.fingerprint import Recipe
from geo_platform.ports import ObjectStore
from geo_platform.source.arrival import open_source
from geo_platform.source.formats import FORMATS
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.crs import determine_crs
from geo_platform.vector.extent import check_plausible, sampled_extent
from geo_platform.vector.field_names import layer_suffixes
from geo_platform.vector.options import FileExtension, VectorProfileOptions
from geo_platform.vector.sources.common import SourceDescription
from geo_platform.vector.sources.csv_profile import describe_csv
from geo_platform.vector.sources.dbf import described_exactly
from geo_platform.vector.sources.gml_text import with_links_resolved
from geo_platform.vector.sources.kml_text import with_all_data
from geo_platform.vector.sources.ogr_profile import describe_ogr
from geo_platform.vector.sources.parquet import describe_parquet
from geo_platform.vector.sources.source_file import check_not_truncated

_FORMATS_OF_EXTENSION: dict[FileExtension, tuple[SourceFormat, ...]] = {
    FileExtension.csv: (SourceFormat.csv,),
    FileExtension.geojson: (SourceFormat.geojson, SourceFormat.geojson_lines),
    FileExtension.json: (SourceFormat.geojson, SourceFormat.geojson_lines),
    FileExtension.gpkg: (SourceFormat.geopackage,),
    FileExtension.kml: (SourceFormat.kml,),
    FileExtension.kmz: (SourceFormat.kml,),
    FileExtension.shp: (SourceFormat.shapefile,),
}


def profile_object(
    arrived: ObjectArrived,
    options: VectorProfileOptions,
    objects: ObjectStore,
    *,
    recipe: Recipe,
    scratch: Path,
) -> VectorProfiled:
    """Open the source and profile it.

    `arrived` is the message of the stage before, which found the source and its format.
    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    Raises Conflict: the object or a sidecar was replaced or deleted since it arrived.
    Raises what `profile_vector` and `source.arrival.open_source` raise.
    """
    with open_source(objects, arrived, scratch=scratch) as source:
        return profile_vector(source, arrived, options, recipe=recipe)


def profile_vector(
    source: OpenableSource,
    arrived: ObjectArrived,
    options: VectorProfileOptions,
    *,
    recipe: Recipe,
) -> VectorProfiled:
    """Describe layers, fields, CRS and geometry types from a sample of rows (CSV: all rows).

    Raises LayerAmbiguous, LayerNotFound, NoGeometry, NoFeatures: no layer or row to publish.
    Raises CrsMissing, CrsMismatch, BoundsImplausible: the location is unknown or impossible.
    Raises FieldEncoding, SourceUnreadable, SourceTruncated: the file cannot be read.
    Raises UnsupportedFormat: `file_extension` names another format than the content has, or a
    GeoParquet file does not encode its geometry as WKB.
    Raises ParameterInvalid: `encoding`, `input_crs` or a column name in the options is invalid.
    """
    _check_file_extension(source, arrived, options.file_extension)
    _check_encoding(options.encoding)
    check_not_truncated(source)
    original = source
    source, link_findings = with_links_resolved(source)
    source, data_findings = with_all_data(source)
    description = _describe(source, options)
    if not description.geometry_types:
        raise NoGeometry(
            f"No row of {source.display_name} has a readable geometry.",
            remedy="Check the export; every geometry is null or damaged.",
        )
    crs, crs_findings = determine_crs(
        description.declared_crs,
        stated=description.stated_crs,
        input_crs=options.input_crs,
        override_crs=options.override_crs,
        format_rule=description.format_crs,
        display_name=source.display_name,
    )
    pyproj_crs = CRS.from_wkt(crs.wkt)
    extent = description.extent
    if description.row_bounds is not None:
        extent = sampled_extent(description.row_bounds, pyproj_crs)
    extent_findings = (
        () if extent is None else check_plausible(extent, pyproj_crs, source.display_name)
    )
    return VectorProfiled(
        source=arrived,
        driver=description.driver,
        layers=description.layers,
        layer=description.layer,
        geometry_types=description.geometry_types,
        feature_count=description.feature_count,
        crs=crs,
        fields=description.fields,
        columns=tuple(field.name for field in description.fields)
        if description.columns is None
        else description.columns,
        geometry_column=description.geometry_column,
        geometry_from=description.geometry_from,
        lon_lat_columns=description.lon_lat_columns,
        extent=extent,
        encoding=description.encoding,
        has_curves=description.has_curves,
        keeps_foreign_members=description.keeps_foreign_members,
        reads_copy=source is not original,
        numbers_as_text=description.numbers_as_text,
        warnings=(
            *link_findings,
            *data_findings,
            *description.warnings,
            *crs_findings,
            *extent_findings,
        ),
        fingerprint=recipe.extend(arrived.fingerprint, options.model_dump(mode="json")),
        layer_suffix=_layer_suffix(description),
    )


def _layer_suffix(description: SourceDescription) -> str | None:
    """Return how the names of the layer's results end; None if no other layer has geometry."""
    spatial = [layer.name for layer in description.layers if layer.geometry_type is not None]
    if len(spatial) < 2:
        return None
    return dict(zip(spatial, layer_suffixes(spatial), strict=True))[description.layer]


def _describe(source: OpenableSource, options: VectorProfileOptions) -> SourceDescription:
    if source.format is SourceFormat.csv:
        return describe_csv(source, options)
    if source.format is SourceFormat.geoparquet:
        return describe_parquet(source, options.layer_name)
    description = describe_ogr(source, options)
    if source.format is SourceFormat.shapefile:
        return described_exactly(source, description)
    return description


def _check_encoding(encoding: str | None) -> None:
    # GDAL would ignore an unknown encoding.
    try:
        codecs.lookup(encoding or "utf-8")
    except LookupError as error:
        raise ParameterInvalid(
            f"encoding: {encoding!r} is not a known text encoding.", parameter="encoding"
        ) from error


def _check_file_extension(
    source: OpenableSource, arrived: ObjectArrived, expected: FileExtension
) -> None:
    if expected is FileExtension.auto:
        return
    is_archive = arrived.archive_member is not None
    if expected is FileExtension.zip and is_archive:
        return
    if source.format not in _FORMATS_OF_EXTENSION.get(expected, ()):
        raise UnsupportedFormat(
            f"file_extension is {expected.value}, but the content of {source.display_name} is "
            f"{FORMATS[source.format].label}.",
            remedy="Leave file_extension at auto, or send the correct file.",
        )
