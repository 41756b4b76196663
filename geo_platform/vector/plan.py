"""plan_features: everything that is decided about the published dataset, before a row is read. Pure.

What belongs here: names, types, geometry rule, dimension, CRS, and why. What stays out: doing it (`clean.py`, `load.py`).

Which columns are to be indexed, checked against those that will be published. What stays out: making indexes; stores do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyproj import CRS

from geo_platform.contracts.message import SpatialReference
from geo_platform.contracts.vector import FieldMapping, FieldType, VectorProfiled
from geo_platform.crs import FROM_USER, parse_crs, reference, same_crs
from geo_platform.errors import GeometryMixed, NoGeometry, ParameterInvalid
from geo_platform.ports import IndexRequest
from geo_platform.vector.crs import horizontal
from geo_platform.vector.field_names import GEOMETRY_COLUMN, dataset_name, publish_names
from geo_platform.vector.field_types import published_type
from geo_platform.vector.geometry_families import MULTI_OF, Family, family_of, has_z
from geo_platform.vector.options import Dimension, LoadMode, MixedGeometry, VectorFeaturesOptions

_TIMES = frozenset({FieldType.date, FieldType.time, FieldType.timestamp})


def plan_indexes(options: VectorFeaturesOptions, fields: Sequence[FieldMapping]) -> IndexRequest:
    """Raises ParameterInvalid where a column is not published, or is to have a temporal index and holds no times."""
    types = {field.published: field.type for field in fields}
    unknown = [
        name
        for name in (*options.indexes_attributes, *options.indexes_temporal)
        if name not in types
    ]
    if unknown:
        raise ParameterInvalid(
            f"Columns to index are not published: {', '.join(unknown)}. There are: {', '.join(types) or 'none'}."
        )
    timeless = [name for name in options.indexes_temporal if types[name] not in _TIMES]
    if timeless:
        raise ParameterInvalid(
            f"Columns for a temporal index hold no times: {', '.join(timeless)}."
        )
    return IndexRequest(
        options.indexes_spatial, tuple(options.indexes_attributes), tuple(options.indexes_temporal)
    )


ANY_GEOMETRY = "Geometry"
# Parsed geometries take about 1 KB a row; larger batches are no faster (measured on 500,000
# polygons).
_MOST_BATCH_ROWS = 8_192


@dataclass(frozen=True)
class FeaturePlan:
    """What will be published. `schema` ends with the WKB geometry column; `family` is None where a mix is kept.

    Lengths (`simplify_tolerance`, `quantize_grid`) are in units of the published CRS, `crs`. `reasons` are sentences.
    """

    dataset: str
    key_prefix: str
    fields: tuple[FieldMapping, ...]
    schema: pa.Schema
    geometry_type: str
    family: Family | None
    dimension: str
    source_crs: SpatialReference
    crs: SpatialReference
    was_reprojected: bool
    simplify_tolerance: float | None
    quantize_grid: float | None
    batch_rows: int
    indexes: IndexRequest
    reasons: tuple[str, ...]


def plan_features(profile: VectorProfiled, options: VectorFeaturesOptions) -> FeaturePlan:
    """Decide everything. Raises GeometryMixed, NoGeometry, ParameterInvalid, TableNameInvalid."""
    dataset = dataset_name(options.table_name, _default_name(profile))
    fields, schema = _fields(profile, options)
    _check_keys(options, fields)
    family, geometry_reason = _geometry_rule(profile, options.mixed_geometry)
    z_there = any(has_z(name) for name in profile.geometry_types)
    dimension = "xyz" if z_there and options.dimension is Dimension.keep else "xy"
    crs, was_reprojected, crs_reason = _published_crs(profile, options, dimension)
    reasons = (
        f"The dataset is called {dataset}"
        + (", as asked." if options.table_name else ", after the object."),
        geometry_reason,
        _dimension_reason(z_there, dimension),
        crs_reason,
        _names_reason(fields),
        *(
            [f"Geometries are simplified by {options.simplify_tolerance:g}, as asked."]
            if options.simplify_tolerance
            else []
        ),
        *(
            [f"Coordinates are snapped to a grid of {options.quantize_grid:g}, as asked."]
            if options.quantize_grid
            else []
        ),
        *(
            ["Curves are replaced by line segments, since GeoParquet has none."]
            if profile.has_curves
            else []
        ),
    )
    return FeaturePlan(
        dataset=dataset,
        key_prefix=f"vectors/{options.schema_name}/{dataset}",
        fields=fields,
        schema=schema,
        geometry_type=MULTI_OF[family] if family is not None else ANY_GEOMETRY,
        family=family,
        dimension=dimension,
        source_crs=profile.crs,
        crs=crs,
        was_reprojected=was_reprojected,
        simplify_tolerance=options.simplify_tolerance,
        quantize_grid=options.quantize_grid,
        batch_rows=min(options.chunk_size, _MOST_BATCH_ROWS),
        indexes=plan_indexes(options, fields),
        reasons=reasons,
    )


def object_stem(key: str) -> str:
    """`a/roads.2020.geojson` -> `roads`: what a dataset is called after, where nobody gave a name."""
    return key.rsplit("/", 1)[-1].split(".", 1)[0]


def _default_name(profile: VectorProfiled) -> str:
    """The object's name without folders and extensions, and the layer's where it was one of several."""
    stem = object_stem(profile.source.key)
    several = sum(layer.geometry_type is not None for layer in profile.layers) > 1
    return f"{stem}_{profile.layer}" if several else stem


def _fields(
    profile: VectorProfiled, options: VectorFeaturesOptions
) -> tuple[tuple[FieldMapping, ...], pa.Schema]:
    names = publish_names([field.name for field in profile.fields], options.column_mapping)
    mappings = tuple(
        FieldMapping(
            source=name.source,
            published=name.published,
            type=field.type,
            renamed_because=name.renamed_because,
        )
        for field, name in zip(profile.fields, names, strict=True)
    )
    columns = [
        pa.field(name.published, published_type(field))
        for field, name in zip(profile.fields, names, strict=True)
    ]
    return mappings, pa.schema([*columns, pa.field(GEOMETRY_COLUMN, pa.binary(), nullable=False)])


def _geometry_rule(profile: VectorProfiled, mixed: MixedGeometry) -> tuple[Family | None, str]:
    seen = {family for name in profile.geometry_types if (family := family_of(name)) is not None}
    if not seen:
        raise NoGeometry(
            f"No row of {profile.source.key} has a geometry that can be read.",
            remedy="Check the export; every geometry is null or damaged.",
        )
    is_mix = len(seen) > 1 or Family.collection in seen
    if is_mix and mixed is MixedGeometry.refuse:
        raise GeometryMixed(
            f"Layer {profile.layer!r} of {profile.source.key} mixes {_listed(profile.geometry_types)}."
        )
    only = next(iter(seen))
    declared = next(
        (layer.geometry_type for layer in profile.layers if layer.name == profile.layer), None
    )
    if is_mix:
        return (
            None,
            f"The layer mixes {_listed(profile.geometry_types)}; all are kept, as asked, single parts as multi.",
        )
    if mixed is MixedGeometry.keep and family_of(declared or "Unknown") is None:
        return (
            None,
            f"{_listed(profile.geometry_types)} were seen, but any type may follow and is kept, as asked, single parts as multi.",
        )
    return (
        only,
        f"{_listed(profile.geometry_types)} becomes {MULTI_OF[only]}, so that single and multi parts share a column.",
    )


def _check_keys(options: VectorFeaturesOptions, fields: Sequence[FieldMapping]) -> None:
    published = [field.published for field in fields]
    unknown = [name for name in options.key_columns if name not in published]
    if unknown:
        raise ParameterInvalid(
            f"Key columns are not published: {', '.join(unknown)}. There are: {', '.join(published) or 'none'}."
        )
    if options.mode is LoadMode.append and not options.key_columns:
        raise ParameterInvalid(
            "Appending needs key_columns: without them a second load of the same rows would double them.",
            remedy="Name the published columns that tell rows apart, for example key_columns parcel_id.",
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _dimension_reason(z_there: bool, dimension: str) -> str:
    if dimension == "xyz":
        return "Heights (Z) are kept, as asked; rows without one get 0."
    return (
        "Heights (Z) are dropped; ask for dimension keep to have them."
        if z_there
        else "Positions have two coordinates."
    )


def _published_crs(
    profile: VectorProfiled, options: VectorFeaturesOptions, dimension: str
) -> tuple[SpatialReference, bool, str]:
    source = CRS.from_wkt(profile.crs.wkt)
    own = source if dimension == "xyz" else horizontal(source)
    if options.target_crs is not None:
        target = parse_crs(options.target_crs, "target_crs")
        if not same_crs(own, target):
            label = _label(reference(target, FROM_USER))
            return (
                reference(target, FROM_USER),
                True,
                f"Coordinates are reprojected from {_label(profile.crs)} to {label}, as asked.",
            )
    kept = profile.crs if own is source else reference(own, profile.crs.came_from)
    return kept, False, f"Coordinates stay in {_label(kept)} ({kept.came_from.replace('_', ' ')})."


def _label(crs: SpatialReference) -> str:
    return crs.authority_code or CRS.from_wkt(crs.wkt).name


def _names_reason(fields: Sequence[FieldMapping]) -> str:
    renamed = sum(field.renamed_because is not None for field in fields)
    return (
        f"{len(fields)} fields, {renamed} of them renamed."
        if fields
        else "The layer has no fields besides its geometry."
    )
