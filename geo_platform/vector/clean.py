"""clean_batch: rows as they came -> rows as they are published, and the rows that cannot be, each with its reason. Pure.

What belongs here: the order of the steps and the verdict on every row. What stays out: reading and writing.

Reasons: ROW_MALFORMED, COORDINATE_UNREADABLE, WKT_UNREADABLE (CSV), NULL_GEOMETRY, EMPTY_GEOMETRY,
GEOMETRY_UNREADABLE, GEOMETRY_UNSUPPORTED, COORDINATES_NOT_FINITE, COORDINATES_IMPLAUSIBLE, REPROJECTION_FAILED,
GEOMETRY_UNREPAIRABLE, GEOMETRY_COLLAPSED, VALUE_OUT_OF_RANGE. A row without geometry is rejected rather than published,
since a dataset that is found by place would never show it; it is counted and kept in the table of rejected rows.

Geometries made valid, keeping their dimension: a polygon stays a polygon, what collapses to less is dropped.

Source: GEOS' MakeValid in its structure method: https://libgeos.org/doxygen/classgeos_1_1geom_1_1util_1_1GeometryFixer.html
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from pyproj import CRS

from geo_platform.errors import GeometryMixed
from geo_platform.vector.crs import reproject
from geo_platform.vector.extent import DEGREE_TOLERANCE
from geo_platform.vector.field_types import convert_column
from geo_platform.vector.geometry_families import families_of
from geo_platform.vector.plan import FeaturePlan
from geo_platform.vector.sources.description import RowFault, SourceBatch
from geo_platform.wkb import CURVE_CODES, OGC_NAMES, is_canonical, wkb_types, wrap_as_multi

Mask = npt.NDArray[np.bool_]
Geometries = npt.NDArray[np.object_]

# `row_number` counts the source's rows from 0; `geometry` is the source's WKB, in its CRS, null
# where it has none.
REJECTED_SCHEMA = pa.schema(
    [
        pa.field("row_number", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("geometry", pa.binary()),
    ]
)


@dataclass(frozen=True)
class CleanedBatch:
    """`clean` has the plan's schema, `rejected` has REJECTED_SCHEMA; together they are the batch's rows."""

    clean: pa.RecordBatch
    rejected: pa.RecordBatch
    repaired: int


class _Verdicts:
    """Why each row is rejected, the first reason counting."""

    def __init__(self, rows: int) -> None:
        self.good: Mask = np.ones(rows, dtype=bool)
        self.faults: dict[int, RowFault] = {}

    def reject(self, mask: Mask, code: str, message: str) -> None:
        self.put({int(row): RowFault(code, message) for row in np.flatnonzero(mask & self.good)})

    def put(self, faults: dict[int, RowFault]) -> None:
        for row, fault in faults.items():
            if self.good[row]:
                self.faults[row] = fault
                self.good[row] = False


def clean_batch(batch: SourceBatch, plan: FeaturePlan) -> CleanedBatch:
    """Parse, force dimension, reproject, simplify, repair, promote; convert the fields.

    Raises GeometryMixed where a row is of another kind than the plan allows.
    """
    verdicts = _Verdicts(len(batch.positions))
    geometries = _parse(batch, verdicts)
    _check_family(geometries, batch, plan, verdicts)
    _check_coordinates(geometries, plan, verdicts)
    geometries = _force_dimension(geometries, plan.dimension)
    geometries = _move(geometries, plan, verdicts)
    geometries, repaired = _repair_and_generalise(geometries, plan, verdicts)
    columns = _convert_fields(batch, plan, verdicts)
    wkb = _published_wkb(geometries, batch, plan, verdicts.good, repaired)
    if not verdicts.good.all():
        columns = [column.filter(pa.array(verdicts.good)) for column in columns]
    clean = pa.RecordBatch.from_arrays([*columns, wkb], schema=plan.schema)
    return CleanedBatch(
        clean, _rejected(batch, verdicts), int(np.count_nonzero(repaired & verdicts.good))
    )


def _published_wkb(
    geometries: Geometries, batch: SourceBatch, plan: FeaturePlan, good: Mask, repaired: Mask
) -> pa.Array:
    """Good rows as multi geometries: in the source's own bytes where nothing changed, which costs a tenth, else written anew."""
    is_new_everywhere = (
        plan.was_reprojected
        or plan.simplify_tolerance is not None
        or plan.quantize_grid is not None
    )
    kept = (
        np.zeros_like(good)
        if is_new_everywhere
        else good & ~repaired & is_canonical(batch.wkb, plan.dimension)
    )
    if not kept.any():
        return _written_anew(geometries[good], plan)
    own = wrap_as_multi(batch.wkb, plan.dimension)
    return (
        own
        if kept.all()
        else _spliced(own, _written_anew(geometries[good & ~kept], plan), kept, good)
    )


def _spliced(own: pa.Array, anew: pa.Array, kept: Mask, good: Mask) -> pa.Array:
    """The good rows in order, of both: whole stretches at once, since the few that are written anew lie far apart."""
    source = np.where(kept, 0, np.where(good, 1, 2))
    starts = np.flatnonzero(np.diff(source, prepend=-1))
    stretches, taken = [], 0
    for start, end in zip(starts, np.append(starts[1:], len(source)), strict=True):
        if kept[start]:
            stretches.append(own.slice(start, end - start))
        elif good[start]:
            stretches.append(anew.slice(taken, end - start))
            taken += end - start
    return pa.concat_arrays(stretches)


def _written_anew(geometries: Geometries, plan: FeaturePlan) -> pa.Array:
    promoted = promote_to_multi(geometries)
    wkb = shapely.to_wkb(
        promoted, output_dimension=3 if plan.dimension == "xyz" else 2, byte_order=1, flavor="iso"
    )
    return pa.array(wkb, pa.binary())


def _parse(batch: SourceBatch, verdicts: _Verdicts) -> Geometries:
    verdicts.put(dict(batch.faults))
    is_null = batch.wkb.is_null().to_numpy(zero_copy_only=False)
    verdicts.reject(is_null, "NULL_GEOMETRY", "the row has no geometry")
    kinds = wkb_types(batch.wkb)
    unsupported = np.isin(
        kinds.codes, [code for code in OGC_NAMES if code > 7 and code not in CURVE_CODES]
    )
    verdicts.reject(
        unsupported, "GEOMETRY_UNSUPPORTED", "the row's type of surface cannot be published"
    )
    geometries = np.full(len(batch.positions), None, dtype=object)
    wkb = batch.wkb.to_numpy(zero_copy_only=False)
    try:
        if verdicts.good.all():
            geometries = shapely.from_wkb(wkb, on_invalid="ignore")
        else:
            geometries[verdicts.good] = shapely.from_wkb(wkb[verdicts.good], on_invalid="ignore")
    except NotImplementedError:
        _parse_one_by_one(wkb, geometries, verdicts)
    verdicts.reject(
        np.asarray(shapely.is_missing(geometries)),
        "GEOMETRY_UNREADABLE",
        "the geometry's bytes cannot be understood",
    )
    verdicts.reject(
        np.asarray(shapely.is_empty(geometries)), "EMPTY_GEOMETRY", "the geometry is empty"
    )
    return geometries


def _parse_one_by_one(
    wkb: npt.NDArray[np.object_], geometries: Geometries, verdicts: _Verdicts
) -> None:
    """GEOS stops at the first curve inside a collection; only that row is at fault."""
    for row in np.flatnonzero(verdicts.good):
        try:
            geometries[row] = shapely.from_wkb(wkb[row], on_invalid="ignore")
        except NotImplementedError:
            verdicts.put(
                {
                    int(row): RowFault(
                        "GEOMETRY_UNSUPPORTED",
                        "a collection with curves inside cannot be published",
                    )
                }
            )


def _check_family(
    geometries: Geometries, batch: SourceBatch, plan: FeaturePlan, verdicts: _Verdicts
) -> None:
    if plan.family is None:
        return
    rows = np.flatnonzero(verdicts.good)
    families = families_of(geometries[rows])
    others = rows[families != plan.family]
    if others.size:
        row = int(others[0])
        raise GeometryMixed(
            f"Row {int(batch.positions[row])} is a {geometries[row].geom_type}, but the layer's other rows are {plan.geometry_type}.",
            row=int(batch.positions[row]),
        )


def _check_coordinates(geometries: Geometries, plan: FeaturePlan, verdicts: _Verdicts) -> None:
    bounds = shapely.bounds(geometries)
    verdicts.reject(
        np.asarray(~np.isfinite(bounds).all(axis=1)),
        "COORDINATES_NOT_FINITE",
        "a coordinate is not a finite number",
    )
    per_unit = _degrees_per_unit(plan.source_crs.wkt)
    if per_unit is not None:
        with np.errstate(invalid="ignore"):
            degrees = np.abs(bounds * per_unit)
            outside = (degrees[:, [1, 3]] > 90 + DEGREE_TOLERANCE).any(axis=1) | (
                degrees[:, [0, 2]] > 360
            ).any(axis=1)
        verdicts.reject(
            np.asarray(outside),
            "COORDINATES_IMPLAUSIBLE",
            "a coordinate lies outside of the range of degrees",
        )


@lru_cache(maxsize=8)
def _degrees_per_unit(wkt: str) -> float | None:
    """None for a CRS whose coordinates are no angles."""
    crs = CRS.from_wkt(wkt)
    return float(np.degrees(crs.axis_info[0].unit_conversion_factor)) if crs.is_geographic else None


def _force_dimension(geometries: Geometries, dimension: str) -> Geometries:
    if dimension == "xyz":
        only_m = shapely.has_m(geometries) & ~shapely.has_z(geometries)
        without_m = (
            np.where(only_m, shapely.force_2d(geometries), geometries)
            if only_m.any()
            else geometries
        )
        return np.asarray(shapely.force_3d(without_m), dtype=object)
    if shapely.has_z(geometries).any() or shapely.has_m(geometries).any():
        return np.asarray(shapely.force_2d(geometries), dtype=object)
    return geometries


def _move(geometries: Geometries, plan: FeaturePlan, verdicts: _Verdicts) -> Geometries:
    if not plan.was_reprojected or not verdicts.good.any():
        return geometries
    moved = geometries.copy()
    moved[verdicts.good] = reproject(geometries[verdicts.good], plan.source_crs.wkt, plan.crs.wkt)
    lost = np.asarray(~np.isfinite(shapely.bounds(moved)).all(axis=1))
    verdicts.reject(lost, "REPROJECTION_FAILED", "a coordinate has no place in the target CRS")
    return moved


def _repair_and_generalise(
    geometries: Geometries, plan: FeaturePlan, verdicts: _Verdicts
) -> tuple[Geometries, Mask]:
    geometries, repaired = _repair(geometries, verdicts)
    if plan.simplify_tolerance is None and plan.quantize_grid is None:
        return geometries, repaired
    good = verdicts.good
    if plan.simplify_tolerance is not None:
        geometries[good] = shapely.simplify(
            geometries[good], plan.simplify_tolerance, preserve_topology=True
        )
    if plan.quantize_grid is not None:
        geometries[good] = shapely.set_precision(
            geometries[good], plan.quantize_grid, mode="valid_output"
        )
    verdicts.reject(
        np.asarray(shapely.is_empty(geometries)),
        "GEOMETRY_COLLAPSED",
        "nothing was left after simplifying or snapping",
    )
    geometries, _ = _repair(geometries, verdicts)
    return geometries, repaired


def _repair(geometries: Geometries, verdicts: _Verdicts) -> tuple[Geometries, Mask]:
    invalid = ~shapely.is_valid(geometries) & verdicts.good
    if not invalid.any():
        return geometries, invalid
    # Only the invalid ones are looked at again: checking validity is the dearest step of all.
    rows = np.flatnonzero(invalid)
    made = make_valid(geometries[rows])
    failed, collapsed = np.zeros_like(invalid), np.zeros_like(invalid)
    failed[rows] = shapely.is_missing(made) | ~shapely.is_valid(made)
    collapsed[rows] = shapely.is_empty(made)
    verdicts.reject(
        failed, "GEOMETRY_UNREPAIRABLE", "the geometry is invalid and could not be made valid"
    )
    verdicts.reject(
        collapsed, "GEOMETRY_COLLAPSED", "the geometry has no length or area left once valid"
    )
    geometries = geometries.copy()
    geometries[rows] = made
    return geometries, invalid


def _convert_fields(batch: SourceBatch, plan: FeaturePlan, verdicts: _Verdicts) -> list[pa.Array]:
    columns = []
    for position, mapping in enumerate(plan.fields):
        column, misfits = convert_column(
            batch.fields.column(position), plan.schema.field(position).type
        )
        if misfits is not None:
            mask = misfits.to_numpy(zero_copy_only=False)
            verdicts.reject(
                mask,
                "VALUE_OUT_OF_RANGE",
                f"the value of {mapping.source!r} does not fit {mapping.type.value}",
            )
        columns.append(column)
    return columns


def _rejected(batch: SourceBatch, verdicts: _Verdicts) -> pa.RecordBatch:
    rows = sorted(verdicts.faults)
    wkb = batch.wkb.take(pa.array(rows, pa.int64())).cast(pa.binary()).to_pylist()
    found = [
        (
            int(batch.positions[row]),
            verdicts.faults[row].code,
            verdicts.faults[row].message,
            geometry,
        )
        for row, geometry in zip(rows, wkb, strict=True)
    ]
    found += [(row, fault.code, fault.message, None) for row, fault in batch.unread.items()]
    found.sort(key=lambda entry: entry[0])
    columns = zip(*found, strict=True) if found else ((), (), (), ())
    return pa.RecordBatch.from_arrays(
        [
            pa.array(column, field.type)
            for column, field in zip(columns, REJECTED_SCHEMA, strict=True)
        ],
        schema=REJECTED_SCHEMA,
    )


def _pass(geometries: Geometries) -> Geometries:
    try:
        repaired = shapely.make_valid(geometries, method="structure", keep_collapsed=False)
    except shapely.GEOSException:
        repaired = np.array([_one(geometry) for geometry in geometries], dtype=object)
    wanted = shapely.get_dimensions(geometries)
    is_mixed = (shapely.get_type_id(repaired) == 7) & (shapely.get_type_id(geometries) != 7)
    for row in np.flatnonzero(is_mixed):
        repaired[row] = _of_dimension(repaired[row], int(wanted[row]))
    return np.asarray(repaired, dtype=object)


def _one(geometry: shapely.Geometry) -> shapely.Geometry | None:
    try:
        return shapely.make_valid(geometry, method="structure", keep_collapsed=False)
    except shapely.GEOSException:
        return None


def _of_dimension(collection: shapely.Geometry, dimension: int) -> shapely.Geometry:
    parts = shapely.get_parts(shapely.get_parts(collection))
    kept = parts[shapely.get_dimensions(parts) == dimension]
    if dimension == 2:
        return shapely.MultiPolygon(list(kept))
    return shapely.MultiLineString(list(kept)) if dimension == 1 else shapely.MultiPoint(list(kept))


def make_valid(geometries: Geometries) -> Geometries:
    """The invalid ones repaired; None where GEOS cannot, empty where nothing of the dimension is left.

    GEOS' structure method can leave two parts that share an edge, which is no valid multipolygon; a second pass joins them.
    """
    repaired = _pass(geometries)
    again = np.flatnonzero(~shapely.is_valid(repaired) & ~shapely.is_missing(repaired))
    if again.size:
        repaired[again] = _pass(repaired[again])
    return repaired


def promote_to_multi(geometries: Geometries) -> Geometries:
    """Points, lines and polygons as multi geometries of one part; the others as they are."""
    types = shapely.get_type_id(geometries)
    promoted = geometries.copy()
    for single, make in (
        (0, shapely.multipoints),
        (1, shapely.multilinestrings),
        (3, shapely.multipolygons),
    ):
        rows = np.flatnonzero(types == single)
        if rows.size:
            promoted[rows] = make(geometries[rows], indices=np.arange(rows.size))
    return promoted
