"""Plan the published dataset before its rows are read: names, types, geometry, CRS, indexes.

`plan_features` reads no file; it uses the profile of the source. `clean.py` and `load.py` follow
the plan.

Used by `api/jobs`, `chains` and `vector`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyproj import CRS

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.contracts.message import SpatialReference
from geo_platform.contracts.vector import FieldMapping, FieldType, VectorProfiled
from geo_platform.crs import FROM_USER, parse_crs, reference, same_crs
from geo_platform.errors import GeometryMixed, NoGeometry, ParameterInvalid
from geo_platform.ports import IndexRequest
from geo_platform.vector.crs import horizontal
from geo_platform.vector.field_names import (
    GEOMETRY_COLUMN,
    MAX_NAME_LENGTH,
    dataset_name,
    publish_names,
)
from geo_platform.vector.field_types import published_type
from geo_platform.vector.geometry_families import TYPE_OF, Family, family_of, has_z
from geo_platform.vector.options import Dimension, LoadMode, MixedGeometry, VectorFeaturesOptions

ANY_GEOMETRY = "Geometry"

# Formats in which a layer often mixes geometry types, because nothing in the format separates them.
_SPLIT_BY_DEFAULT = frozenset(
    {
        SourceFormat.geojson,
        SourceFormat.geojson_lines,
        SourceFormat.kml,
        SourceFormat.flatgeobuf,
    }
)

_TIME_TYPES = frozenset({FieldType.date, FieldType.time, FieldType.timestamp})
# A parsed geometry takes about 1 KB a row. Larger batches are no faster (measured on 500,000
# polygons).
_MAX_BATCH_ROWS = 8_192


@dataclass(frozen=True)
class FeaturePlan:
    """What will be published, and why.

    `key_prefix` is the folder of the dataset in the container silver. The last column of `schema`
    is the WKB geometry. `family` is None if rows of any geometry type are published. If `is_split`,
    the rows of each family become a dataset of their own (`family_datasets.py`), and `families` are
    those that the profile found. `mixed_geometry` is what happens to a row of another family; it is
    never `auto`. `dimension` is "xy" or "xyz". `crs` is the published CRS; `simplify_tolerance` and
    `quantize_grid` are in its units. `cuts_at_seam` is whether rows are cut where they cross the
    seam of `crs`. `reasons` are sentences for people.
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
    cuts_at_seam: bool
    simplify_tolerance: float | None
    quantize_grid: float | None
    batch_rows: int
    indexes: IndexRequest
    reasons: tuple[str, ...]
    families: tuple[Family, ...] = ()
    is_split: bool = False
    mixed_geometry: MixedGeometry = MixedGeometry.refuse


@dataclass(frozen=True)
class _Geometry:
    """The geometry part of a plan, and the reason for it."""

    family: Family | None
    families: tuple[Family, ...]
    is_split: bool
    mixed: MixedGeometry
    reason: str


def plan_features(
    profile: VectorProfiled, options: VectorFeaturesOptions, *, is_mixed: bool = False
) -> FeaturePlan:
    """Return the plan for a profiled source.

    `is_mixed` says that the layer mixes geometry types, even if the sampled rows do not.

    Raises GeometryMixed: the layer mixes geometry types, and `mixed_geometry` is refuse.
    Raises NoGeometry: the profile has no geometry type of a known family.
    Raises ParameterInvalid: an option names an unknown column or CRS, or a column that does not fit
    the option; or `load_mode` is append, and `key_columns` is empty or the layer would be split.
    Raises TableNameInvalid: `table_name` cannot be the name of a dataset.
    """
    dataset = _dataset(profile, options)
    fields, schema = _fields(profile, options)
    _check_keys(options, fields)
    geometry = _geometry(profile, options, is_mixed=is_mixed)
    source_has_z = any(has_z(name) for name in profile.geometry_types)
    dimension = "xyz" if source_has_z and options.dimension is Dimension.keep else "xy"
    crs, was_reprojected, crs_reason = _published_crs(profile, options, dimension)
    reasons = [
        f"{'The names of the datasets begin with' if geometry.is_split else 'The dataset is named'}"
        f" {dataset}, {'as requested' if options.table_name else 'after the object'}.",
        geometry.reason,
        _dimension_reason(source_has_z, dimension),
        crs_reason,
        _names_reason(fields),
    ]
    if options.simplify_tolerance:
        reasons.append(
            f"Geometries are simplified by {options.simplify_tolerance:g}, as requested."
        )
    if options.quantize_grid:
        reasons.append(
            f"Coordinates are snapped to a grid of {options.quantize_grid:g}, as requested."
        )
    if profile.has_curves:
        reasons.append("Curves are replaced by line segments, since GeoParquet has no curves.")
    return FeaturePlan(
        dataset=dataset,
        key_prefix=f"vectors/{options.schema_name}/{dataset}",
        fields=fields,
        schema=schema,
        geometry_type=ANY_GEOMETRY if geometry.family is None else TYPE_OF[geometry.family],
        family=geometry.family,
        dimension=dimension,
        source_crs=profile.crs,
        crs=crs,
        was_reprojected=was_reprojected,
        # A requested CRS of degrees has longitudes in -180..180, also if the source has it already.
        cuts_at_seam=was_reprojected
        or (options.target_crs is not None and CRS.from_wkt(crs.wkt).is_geographic),
        simplify_tolerance=options.simplify_tolerance,
        quantize_grid=options.quantize_grid,
        batch_rows=min(options.chunk_size, _MAX_BATCH_ROWS),
        indexes=_indexes(options, fields),
        reasons=tuple(reasons),
        families=geometry.families,
        is_split=geometry.is_split,
        mixed_geometry=geometry.mixed,
    )


def object_stem(key: str) -> str:
    """Return the object's name without folders and extensions: `a/roads.2020.geojson` -> `roads`.

    The stem is the default name of a dataset.
    """
    return key.rsplit("/", 1)[-1].split(".", 1)[0]


def _dataset(profile: VectorProfiled, options: VectorFeaturesOptions) -> str:
    """Return the dataset's name: `table_name`, or the object's stem.

    If the file has several layers, the layer's suffix is appended to the stem; to `table_name`
    only if all layers are taken.
    """
    base = dataset_name(options.table_name, object_stem(profile.source.key))
    suffix = profile.layer_suffix
    if suffix is None or (options.table_name is not None and not profile.is_one_of_all):
        return base
    name = f"{base.rstrip('_')}_{suffix}"
    if len(name) <= MAX_NAME_LENGTH:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{name[: MAX_NAME_LENGTH - 7]}_{digest}"


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


def _check_keys(options: VectorFeaturesOptions, fields: Sequence[FieldMapping]) -> None:
    published = [field.published for field in fields]
    unknown = [name for name in options.key_columns if name not in published]
    if unknown:
        raise ParameterInvalid(
            f"key_columns names columns that are not published: {_listed(unknown)}. Published "
            f"columns: {_listed(published) or 'none'}."
        )
    if options.mode is LoadMode.append and not options.key_columns:
        raise ParameterInvalid(
            "load_mode append needs key_columns: without them, loading the same rows again would "
            "duplicate them.",
            remedy=(
                "Name the published columns that identify a row, for example key_columns=parcel_id."
            ),
        )


def _indexes(options: VectorFeaturesOptions, fields: Sequence[FieldMapping]) -> IndexRequest:
    types = {field.published: field.type for field in fields}
    requested = (*options.indexes_attributes, *options.indexes_temporal)
    unknown = [name for name in requested if name not in types]
    if unknown:
        raise ParameterInvalid(
            f"Columns to index are not published: {_listed(unknown)}. Published columns: "
            f"{_listed(list(types)) or 'none'}."
        )
    without_time = [name for name in options.indexes_temporal if types[name] not in _TIME_TYPES]
    if without_time:
        raise ParameterInvalid(
            f"indexes_temporal names columns that hold no times: {_listed(without_time)}."
        )
    return IndexRequest(
        options.indexes_spatial, tuple(options.indexes_attributes), tuple(options.indexes_temporal)
    )


def _geometry(
    profile: VectorProfiled, options: VectorFeaturesOptions, *, is_mixed: bool
) -> _Geometry:
    families = tuple(
        family
        for family in Family
        if any(family_of(name) is family for name in profile.geometry_types)
    )
    if not families:
        raise NoGeometry(
            f"No row of {profile.source.key} has a readable geometry.",
            remedy="Check the export; every geometry is null or damaged.",
        )
    mixed, types = _mixed_geometry(profile, options), _listed(profile.geometry_types)
    if mixed is MixedGeometry.split:
        return _split(families, types, options, is_mixed=is_mixed or len(families) > 1)
    # A collection can hold several families in one row.
    is_mix = is_mixed or len(families) > 1 or Family.collection in families
    if is_mix and mixed is MixedGeometry.refuse:
        raise GeometryMixed(f"Layer {profile.layer!r} of {profile.source.key} mixes {types}.")
    if is_mix:
        reason = f"The layer mixes {types}. All are kept as requested, single parts as multi."
        return _Geometry(None, families, is_split=False, mixed=mixed, reason=reason)
    declared = next(
        (layer.geometry_type for layer in profile.layers if layer.name == profile.layer), None
    )
    if mixed is MixedGeometry.keep and family_of(declared or "Unknown") is None:
        reason = (
            f"Only {types} was sampled, but the layer may hold any type. All are kept as "
            "requested, single parts as multi."
        )
        return _Geometry(None, families, is_split=False, mixed=mixed, reason=reason)
    return _of_one_family(families, types, mixed)


def _mixed_geometry(profile: VectorProfiled, options: VectorFeaturesOptions) -> MixedGeometry:
    if options.mixed_geometry is not MixedGeometry.auto:
        return options.mixed_geometry
    is_split = profile.source.format in _SPLIT_BY_DEFAULT and options.mode is not LoadMode.append
    return MixedGeometry.split if is_split else MixedGeometry.refuse


def _split(
    families: tuple[Family, ...], types: str, options: VectorFeaturesOptions, *, is_mixed: bool
) -> _Geometry:
    if not is_mixed:
        return _of_one_family(families, types, MixedGeometry.split)
    if options.mode is LoadMode.append:
        raise ParameterInvalid(
            f"The layer mixes {types}, and load_mode append adds rows to one dataset only.",
            remedy="Set mixed_geometry=keep, or load the layer without append.",
            parameter="mixed_geometry",
        )
    reason = (
        f"The layer mixes {types}. The rows of each geometry family become a dataset, single parts "
        "as multi."
    )
    return _Geometry(None, families, is_split=True, mixed=MixedGeometry.split, reason=reason)


def _of_one_family(families: tuple[Family, ...], types: str, mixed: MixedGeometry) -> _Geometry:
    family = families[0]
    reason = f"{types} becomes {TYPE_OF[family]}, so that single and multi parts share a column."
    return _Geometry(family, families, is_split=False, mixed=mixed, reason=reason)


def _dimension_reason(source_has_z: bool, dimension: str) -> str:
    if dimension == "xyz":
        return "Heights (Z) are kept, as requested; a row without a height gets 0."
    if source_has_z:
        return "Heights (Z) are dropped; set dimension to keep to keep them."
    return "Positions have two coordinates."


def _published_crs(
    profile: VectorProfiled, options: VectorFeaturesOptions, dimension: str
) -> tuple[SpatialReference, bool, str]:
    """Return the published CRS, whether coordinates are reprojected, and the reason."""
    source = CRS.from_wkt(profile.crs.wkt)
    kept_crs = source if dimension == "xyz" else horizontal(source)
    if options.target_crs is not None:
        target = parse_crs(options.target_crs, "target_crs")
        if not same_crs(kept_crs, target):
            published = reference(target, FROM_USER)
            return (
                published,
                True,
                f"Coordinates are reprojected from {_label(profile.crs)} to {_label(published)}, "
                "as requested.",
            )
    published = profile.crs if kept_crs is source else reference(kept_crs, profile.crs.came_from)
    origin = published.came_from.replace("_", " ")
    return published, False, f"Coordinates stay in {_label(published)} ({origin})."


def _label(crs: SpatialReference) -> str:
    return crs.authority_code or CRS.from_wkt(crs.wkt).name


def _names_reason(fields: Sequence[FieldMapping]) -> str:
    if not fields:
        return "The layer has no fields besides its geometry."
    renamed = sum(field.renamed_because is not None for field in fields)
    return f"{len(fields)} fields, {renamed} of them renamed."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
