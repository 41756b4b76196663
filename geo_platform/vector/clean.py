"""Clean one batch: convert its rows to the published schema, and reject rows that cannot be used.

Codes of rejected rows: ROW_MALFORMED, COORDINATE_UNREADABLE, WKT_UNREADABLE (CSV),
NULL_GEOMETRY, EMPTY_GEOMETRY, GEOMETRY_UNREADABLE, GEOMETRY_UNSUPPORTED, COORDINATES_NOT_FINITE,
COORDINATES_IMPLAUSIBLE, REPROJECTION_FAILED, GEOMETRY_UNREPAIRABLE, GEOMETRY_COLLAPSED,
VALUE_OUT_OF_RANGE. A row without geometry is rejected too, because no spatial search finds it.

Called by `clean_stream.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import shapely
from pyproj import CRS

from geo_platform.errors import GeometryMixed
from geo_platform.longitudes import HALF_TURN, part_boxes
from geo_platform.vector.crs import reproject
from geo_platform.vector.extent import DEGREE_TOLERANCE, MAX_LONGITUDE
from geo_platform.vector.field_types import convert_column
from geo_platform.vector.geometry_families import Family, families_of
from geo_platform.vector.long_edges import (
    LARGE_IN_SOURCE_M,
    LARGE_IN_TARGET_M,
    with_straight_edges,
)
from geo_platform.vector.plan import FeaturePlan
from geo_platform.vector.seam_cut import MAX_METRES, NotCutError, metres_per_unit, seam_cutter
from geo_platform.vector.sources.common import RowFault, SourceBatch
from geo_platform.wkb import CURVE_CODES, OGC_NAMES, Mask, is_canonical, wkb_types, wrap_as_multi

Geometries = npt.NDArray[np.object_]
# Shape (rows, 4): xmin, ymin, xmax, ymax.
Boxes = npt.NDArray[np.float64]

# `row_number` counts the rows of the source from 0. `geometry` is the WKB of the source, in the CRS
# of the source; null if the row has no readable geometry.
REJECTED_SCHEMA = pa.schema(
    [
        pa.field("row_number", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("geometry", pa.binary()),
    ]
)

# Types that Shapely cannot hold, such as PolyhedralSurface and TIN.
_UNSUPPORTED_CODES = [code for code in OGC_NAMES if code > 7 and code not in CURVE_CODES]
_COLLECTION_TYPE_ID = 7
# A quarter of the equator.
_WIDE_M = 1e7
# Of xmin, ymin, xmax, ymax. Shape (4, 1).
_LARGEST_DEGREES = np.array([[MAX_LONGITUDE], [90 + DEGREE_TOLERANCE]] * 2)


@dataclass(frozen=True)
class CleanedBatch:
    """The rows of one batch: `clean` in the schema of the plan, `rejected` in REJECTED_SCHEMA.

    `repaired` counts the clean rows whose geometry was made valid, `cut` those that were cut along
    the seam of the published CRS. `boxes` are the bounds of the clean rows in the published CRS,
    and of each part of very wide rows (`longitudes.part_boxes`).
    `drawn_round` counts rows with an edge of more than 180 degrees of longitude in the source.
    `source_bounds` is the extent of the clean rows in the CRS of the source: xmin, ymin, xmax,
    ymax, NaN if there are none.
    """

    clean: pa.RecordBatch
    rejected: pa.RecordBatch
    repaired: int
    cut: int
    drawn_round: int
    boxes: Boxes
    source_bounds: npt.NDArray[np.float64]


class _RowChecks:
    """Which rows of a batch can still be published, and the first fault of every other row."""

    def __init__(self, rows: int) -> None:
        self.good: Mask = np.ones(rows, dtype=bool)
        self.faults: dict[int, RowFault] = {}

    def reject(self, mask: Mask, code: str, message: str) -> None:
        self.add({int(row): RowFault(code, message) for row in np.flatnonzero(mask & self.good)})

    def add(self, faults: Mapping[int, RowFault]) -> None:
        for row, fault in faults.items():
            if self.good[row]:
                self.faults[row] = fault
                self.good[row] = False


def clean_batch(batch: SourceBatch, plan: FeaturePlan) -> CleanedBatch:
    """Clean the geometries and convert the fields, in the order of docs/vector.md.

    Raises GeometryMixed: a row belongs to another geometry family than the plan allows.
    """
    checks = _RowChecks(len(batch.positions))
    geometries = _parse(batch, checks)
    _check_family(geometries, batch, plan, checks)
    bounds = _check_coordinates(geometries, plan, checks)
    geometries_of_source = geometries = _force_dimension(geometries, plan.dimension)
    moved = _reproject(geometries, bounds, plan, checks)
    geometries, repaired = _repair_and_generalise(moved.geometries, plan, checks)
    repaired |= moved.repaired
    changed = repaired | moved.changed
    boxes = _boxes(moved.bounds, geometries, plan, repaired, checks)
    columns = _convert_fields(batch, plan, checks)
    wkb = _published_wkb(geometries, batch, plan, checks.good, changed)
    if not checks.good.all():
        columns = [column.filter(pa.array(checks.good)) for column in columns]
    clean = pa.RecordBatch.from_arrays([*columns, wkb], schema=plan.schema)
    return CleanedBatch(
        clean,
        _rejected_rows(batch, checks),
        repaired=int(np.count_nonzero(repaired & checks.good)),
        cut=int(np.count_nonzero(moved.cut & checks.good)),
        drawn_round=_count_drawn_round(geometries_of_source, bounds, plan, checks),
        boxes=boxes,
        source_bounds=_extent(bounds[checks.good]),
    )


def make_valid(geometries: Geometries) -> Geometries:
    """Repair geometries and keep their dimension: a polygon stays a polygon.

    The result is None for a geometry that GEOS cannot repair, and empty for a geometry that
    collapses to a lower dimension. Uses the structure method of GEOS:
    https://libgeos.org/doxygen/classgeos_1_1geom_1_1util_1_1GeometryFixer.html
    """
    repaired = _make_valid_once(geometries)
    # After the first pass, two parts can share an edge, which is not a valid multipolygon. A second
    # pass joins the parts.
    still_invalid = np.flatnonzero(~shapely.is_valid(repaired) & ~shapely.is_missing(repaired))
    if still_invalid.size:
        repaired[still_invalid] = _make_valid_once(repaired[still_invalid])
    return repaired


def promote_to_multi(geometries: Geometries) -> Geometries:
    """Return points, lines and polygons as multi geometries of one part, and others unchanged."""
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


def _parse(batch: SourceBatch, checks: _RowChecks) -> Geometries:
    checks.add(dict(batch.faults))
    is_null = batch.wkb.is_null().to_numpy(zero_copy_only=False)
    checks.reject(is_null, "NULL_GEOMETRY", "the row has no geometry")
    unsupported = np.isin(wkb_types(batch.wkb).codes, _UNSUPPORTED_CODES)
    checks.reject(unsupported, "GEOMETRY_UNSUPPORTED", "surfaces of this type cannot be published")
    geometries = np.full(len(batch.positions), None, dtype=object)
    wkb = batch.wkb.to_numpy(zero_copy_only=False)
    try:
        if checks.good.all():
            geometries = shapely.from_wkb(wkb, on_invalid="ignore")
        else:
            geometries[checks.good] = shapely.from_wkb(wkb[checks.good], on_invalid="ignore")
    except NotImplementedError:
        _parse_one_by_one(wkb, geometries, checks)
    checks.reject(
        np.asarray(shapely.is_missing(geometries)),
        "GEOMETRY_UNREADABLE",
        "the bytes are not a valid WKB geometry",
    )
    checks.reject(
        np.asarray(shapely.is_empty(geometries)), "EMPTY_GEOMETRY", "the geometry is empty"
    )
    return geometries


def _parse_one_by_one(
    wkb: npt.NDArray[np.object_], geometries: Geometries, checks: _RowChecks
) -> None:
    # GEOS stops at the first collection with a curve. Parse each row, to reject only these rows.
    for row in np.flatnonzero(checks.good):
        try:
            geometries[row] = shapely.from_wkb(wkb[row], on_invalid="ignore")
        except NotImplementedError:
            checks.add(
                {
                    int(row): RowFault(
                        "GEOMETRY_UNSUPPORTED",
                        "a collection that contains curves cannot be published",
                    )
                }
            )


def _check_family(
    geometries: Geometries, batch: SourceBatch, plan: FeaturePlan, checks: _RowChecks
) -> None:
    if plan.family is None:
        return
    rows = np.flatnonzero(checks.good)
    families = families_of(geometries[rows])
    others = rows[families != plan.family]
    if others.size:
        row = int(others[0])
        raise GeometryMixed(
            f"Row {int(batch.positions[row])} is a {geometries[row].geom_type}, but the dataset's "
            f"type is {plan.geometry_type}.",
            row=int(batch.positions[row]),
        )


def _extent(bounds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if not len(bounds):
        return np.full(4, np.nan)
    # By column: NumPy takes ten times as long for the least value along the axis of the rows.
    return np.array(
        [*(bounds[:, side].min() for side in (0, 1)), *(bounds[:, side].max() for side in (2, 3))]
    )


def _check_coordinates(
    geometries: Geometries, plan: FeaturePlan, checks: _RowChecks
) -> npt.NDArray[np.float64]:
    """Reject rows with impossible coordinates. Return the bounds of every row."""
    bounds = np.asarray(shapely.bounds(geometries), dtype=np.float64)
    # Shape (4, rows): NumPy combines four long rows faster than many short ones.
    sides = np.ascontiguousarray(bounds.T)
    checks.reject(
        np.asarray(~np.isfinite(sides).all(axis=0)),
        "COORDINATES_NOT_FINITE",
        "a coordinate is not a finite number",
    )
    per_unit = _degrees_per_unit(plan.source_crs.wkt)
    if per_unit is not None:
        with np.errstate(invalid="ignore"):
            outside = (np.abs(sides * per_unit) > _LARGEST_DEGREES).any(axis=0)
        checks.reject(
            np.asarray(outside),
            "COORDINATES_IMPLAUSIBLE",
            "a coordinate is outside the range of degrees",
        )
    return bounds


@lru_cache(maxsize=8)
def _degrees_per_unit(wkt: str) -> float | None:
    """Return the size of the unit of a geographic CRS in degrees, or None for another CRS."""
    crs = CRS.from_wkt(wkt)
    return float(np.degrees(crs.axis_info[0].unit_conversion_factor)) if crs.is_geographic else None


def _count_drawn_round(
    geometries: Geometries, bounds: Boxes, plan: FeaturePlan, checks: _RowChecks
) -> int:
    """Count the good rows with an edge of more than half, but less than a whole turn.

    Such an edge goes around the Earth. Often it was meant to cross the antimeridian.
    """
    per_unit = _degrees_per_unit(plan.source_crs.wkt)
    if per_unit is None:
        return 0
    with np.errstate(invalid="ignore"):
        is_wide = (bounds[:, 2] - bounds[:, 0]) * per_unit > HALF_TURN
    count = 0
    for geometry in geometries[is_wide & checks.good]:
        if shapely.get_dimensions(geometry) == 0:
            continue
        parts = shapely.get_parts(shapely.get_parts(geometry))
        polygons = parts[shapely.get_dimensions(parts) == 2]
        lines = [*parts[shapely.get_dimensions(parts) == 1], *shapely.get_rings(polygons)]
        positions, line = shapely.get_coordinates(lines, return_index=True)
        turns = np.abs(np.diff(positions[:, 0]))[np.diff(line) == 0] * per_unit
        count += bool(((turns > HALF_TURN) & (turns < 2 * HALF_TURN - DEGREE_TOLERANCE)).any())
    return count


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


@dataclass
class _MovedRows:
    """Rows in the published CRS and their bounds.

    Of the rows that touch the seam, `changed` marks those whose geometry is another one than that
    of their reprojected vertices; some of them were `cut`, some `repaired`.
    """

    geometries: Geometries
    bounds: Boxes
    changed: Mask
    cut: Mask
    repaired: Mask


def _reproject(
    geometries: Geometries, bounds: Boxes, plan: FeaturePlan, checks: _RowChecks
) -> _MovedRows:
    """Reproject the rows, and cut them along the seam of the target CRS.

    `bounds` are those of the rows in the CRS of the source.
    """
    changed, cut, repaired = np.zeros((3, len(geometries)), dtype=bool)
    moved = _MovedRows(geometries, bounds, changed, cut, repaired)
    if not plan.cuts_at_seam or not checks.good.any():
        return moved
    if plan.was_reprojected:
        moved.geometries = geometries.copy()
        moved.geometries[checks.good] = reproject(
            geometries[checks.good], plan.source_crs.wkt, plan.crs.wkt
        )
        moved.bounds = np.asarray(shapely.bounds(moved.geometries))
        limit = MAX_METRES / _metres_per_unit(plan.crs.wkt)
        with np.errstate(invalid="ignore"):
            is_lost = np.asarray(~(np.abs(moved.bounds) <= limit).all(axis=1))
        checks.reject(
            is_lost, "REPROJECTION_FAILED", "a coordinate has no position in the target CRS"
        )
    _cut_at_seam(geometries, bounds, moved, plan, checks)
    if plan.was_reprojected:
        _straighten_edges(geometries, bounds, moved, plan, checks)
    return moved


def _cut_at_seam(
    geometries: Geometries, bounds: Boxes, moved: _MovedRows, plan: FeaturePlan, checks: _RowChecks
) -> None:
    cutter = seam_cutter(plan.source_crs.wkt, plan.crs.wkt)
    if cutter is None:
        return
    rows = np.flatnonzero(cutter.may_touch(bounds, moved.bounds) & checks.good)
    if not rows.size:
        return
    if not plan.was_reprojected:
        moved.geometries, moved.bounds = geometries.copy(), bounds.copy()
    for row in rows:
        try:
            cut = cutter.cut(geometries[row], moved.geometries[row])
        except NotCutError as error:
            checks.add({int(row): RowFault("REPROJECTION_FAILED", str(error))})
            continue
        moved.changed[row] = cut.geometry is not moved.geometries[row]
        moved.geometries[row] = cut.geometry
        moved.cut[row], moved.repaired[row] = cut.is_cut, cut.is_repaired
    moved.bounds[rows] = shapely.bounds(moved.geometries[rows])


def _straighten_edges(
    geometries: Geometries, bounds: Boxes, moved: _MovedRows, plan: FeaturePlan, checks: _RowChecks
) -> None:
    crs = (plan.source_crs.wkt, plan.crs.wkt)
    large = _are_large(bounds, crs[0], LARGE_IN_SOURCE_M)
    large |= _are_large(moved.bounds, crs[1], LARGE_IN_TARGET_M)
    rows = np.flatnonzero(large & checks.good & ~moved.changed)
    for row in rows:
        try:
            moved.geometries[row] = with_straight_edges(
                geometries[row], moved.geometries[row], *crs
            )
        except NotCutError as error:
            checks.add({int(row): RowFault("REPROJECTION_FAILED", str(error))})
    if rows.size:
        moved.bounds[rows] = shapely.bounds(moved.geometries[rows])


def _are_large(bounds: Boxes, wkt: str, size_m: float) -> Mask:
    size = size_m / _metres_per_unit(wkt)
    with np.errstate(invalid="ignore"):
        return np.asarray(
            (bounds[:, 2] - bounds[:, 0] > size) | (bounds[:, 3] - bounds[:, 1] > size)
        )


@lru_cache(maxsize=8)
def _metres_per_unit(wkt: str) -> float:
    return metres_per_unit(CRS.from_wkt(wkt))


def _boxes(
    bounds: Boxes, geometries: Geometries, plan: FeaturePlan, repaired: Mask, checks: _RowChecks
) -> Boxes:
    """Return the boxes of the good rows. `bounds` are those before repairing and generalising."""
    if plan.simplify_tolerance is not None or plan.quantize_grid is not None:
        bounds = np.asarray(shapely.bounds(geometries))
    elif repaired.any():
        bounds = bounds.copy()
        bounds[repaired] = shapely.bounds(geometries[repaired])
    good = checks.good
    if not good.all():
        bounds, geometries = bounds[good], geometries[good]
    return part_boxes(bounds, geometries, _widest_box(plan.crs.wkt))


@lru_cache(maxsize=8)
def _widest_box(wkt: str) -> float:
    """Return the width, in units of the CRS, above which the boxes of a row's parts are used."""
    per_unit = _degrees_per_unit(wkt)
    return (
        _WIDE_M / metres_per_unit(CRS.from_wkt(wkt)) if per_unit is None else HALF_TURN / per_unit
    )


def _repair_and_generalise(
    geometries: Geometries, plan: FeaturePlan, checks: _RowChecks
) -> tuple[Geometries, Mask]:
    geometries, repaired = _repair(geometries, checks)
    if plan.simplify_tolerance is None and plan.quantize_grid is None:
        return geometries, repaired
    good = checks.good
    if plan.simplify_tolerance is not None:
        geometries[good] = shapely.simplify(
            geometries[good], plan.simplify_tolerance, preserve_topology=True
        )
    if plan.quantize_grid is not None:
        geometries[good] = shapely.set_precision(
            geometries[good], plan.quantize_grid, mode="valid_output"
        )
    checks.reject(
        np.asarray(shapely.is_empty(geometries)),
        "GEOMETRY_COLLAPSED",
        "nothing is left after simplifying or snapping",
    )
    geometries, _ = _repair(geometries, checks)
    return geometries, repaired


def _repair(geometries: Geometries, checks: _RowChecks) -> tuple[Geometries, Mask]:
    invalid = ~shapely.is_valid(geometries) & checks.good
    if not invalid.any():
        return geometries, invalid
    # Only repaired rows are checked again, because the validity check is the most expensive step.
    rows = np.flatnonzero(invalid)
    valid = make_valid(geometries[rows])
    failed, collapsed = np.zeros_like(invalid), np.zeros_like(invalid)
    failed[rows] = shapely.is_missing(valid) | ~shapely.is_valid(valid)
    collapsed[rows] = shapely.is_empty(valid)
    checks.reject(failed, "GEOMETRY_UNREPAIRABLE", "the geometry is invalid and cannot be repaired")
    checks.reject(
        collapsed, "GEOMETRY_COLLAPSED", "the geometry has no length or area left after repair"
    )
    geometries = geometries.copy()
    geometries[rows] = valid
    return geometries, invalid


def _make_valid_once(geometries: Geometries) -> Geometries:
    try:
        repaired = shapely.make_valid(geometries, method="structure", keep_collapsed=False)
    except shapely.GEOSException:
        repaired = np.array([_make_one_valid(geometry) for geometry in geometries], dtype=object)
    dimensions = shapely.get_dimensions(geometries)
    is_mixed = (shapely.get_type_id(repaired) == _COLLECTION_TYPE_ID) & (
        shapely.get_type_id(geometries) != _COLLECTION_TYPE_ID
    )
    for row in np.flatnonzero(is_mixed):
        repaired[row] = _parts_of_dimension(repaired[row], int(dimensions[row]))
    return np.asarray(repaired, dtype=object)


def _make_one_valid(geometry: shapely.Geometry) -> shapely.Geometry | None:
    try:
        return shapely.make_valid(geometry, method="structure", keep_collapsed=False)
    except shapely.GEOSException:
        return None


def _parts_of_dimension(collection: shapely.Geometry, dimension: int) -> shapely.Geometry:
    parts = shapely.get_parts(shapely.get_parts(collection))
    kept = parts[shapely.get_dimensions(parts) == dimension]
    if dimension == 2:
        return shapely.MultiPolygon(list(kept))
    return shapely.MultiLineString(list(kept)) if dimension == 1 else shapely.MultiPoint(list(kept))


def _convert_fields(batch: SourceBatch, plan: FeaturePlan, checks: _RowChecks) -> list[pa.Array]:
    columns = []
    for position, mapping in enumerate(plan.fields):
        column, misfits = convert_column(
            batch.fields.column(position), plan.schema.field(position).type
        )
        if misfits is not None:
            mask = misfits.to_numpy(zero_copy_only=False)
            checks.reject(
                mask,
                "VALUE_OUT_OF_RANGE",
                f"the value of {mapping.source!r} does not fit {mapping.type.value}",
            )
        columns.append(column)
    return columns


def _published_wkb(
    geometries: Geometries, batch: SourceBatch, plan: FeaturePlan, good: Mask, changed: Mask
) -> pa.Array:
    """Return the geometries of the good rows as WKB of multi geometries.

    The source bytes of an unchanged geometry are reused if they are canonical WKB. This costs a
    tenth of writing the geometry again.
    """
    changes_every_row = (
        plan.was_reprojected
        or plan.simplify_tolerance is not None
        or plan.quantize_grid is not None
    )
    if changes_every_row:
        return _written_wkb(geometries[good], plan)
    reusable = good & ~changed & is_canonical(batch.wkb, plan.dimension)
    if not reusable.any():
        return _written_wkb(geometries[good], plan)
    source_wkb = wrap_as_multi(batch.wkb, plan.dimension)
    if reusable.all():
        return source_wkb
    written = _written_wkb(geometries[good & ~reusable], plan)
    return _merge_in_order(source_wkb, written, reusable, good)


def _merge_in_order(
    source_wkb: pa.Array, written: pa.Array, reusable: Mask, good: Mask
) -> pa.Array:
    """Return the good rows in order: reusable rows from `source_wkb`, others from `written`.

    `source_wkb` has all rows of the batch; `written` has only the good rows that are not reusable.
    Whole runs of rows are copied, because the few written rows are far apart.
    """
    origin = np.where(reusable, 0, np.where(good, 1, 2))
    starts = np.flatnonzero(np.diff(origin, prepend=-1))
    runs, next_written = [], 0
    for start, end in zip(starts, np.append(starts[1:], len(origin)), strict=True):
        if reusable[start]:
            runs.append(source_wkb.slice(start, end - start))
        elif good[start]:
            runs.append(written.slice(next_written, end - start))
            next_written += end - start
    return pa.concat_arrays(runs)


def _written_wkb(geometries: Geometries, plan: FeaturePlan) -> pa.Array:
    promoted = promote_to_multi(geometries)
    wkb = shapely.to_wkb(
        _as_collections(promoted) if plan.family is Family.collection else promoted,
        output_dimension=3 if plan.dimension == "xyz" else 2,
        byte_order=1,
        flavor="iso",
    )
    return pa.array(wkb, pa.binary())


def _as_collections(geometries: Geometries) -> Geometries:
    # A collection of which only one type is left after repair can come back as that type.
    return np.array(
        [
            geometry
            if geometry.geom_type == "GeometryCollection"
            else shapely.GeometryCollection([geometry])
            for geometry in geometries
        ],
        dtype=object,
    )


def _rejected_rows(batch: SourceBatch, checks: _RowChecks) -> pa.RecordBatch:
    rows = sorted(checks.faults)
    wkb = batch.wkb.take(pa.array(rows, pa.int64())).cast(pa.binary()).to_pylist()
    entries = [
        (
            int(batch.positions[row]),
            checks.faults[row].code,
            checks.faults[row].message,
            geometry,
        )
        for row, geometry in zip(rows, wkb, strict=True)
    ]
    entries += [(row, fault.code, fault.message, None) for row, fault in batch.unread.items()]
    entries.sort(key=lambda entry: entry[0])
    columns = zip(*entries, strict=True) if entries else ((), (), (), ())
    return pa.RecordBatch.from_arrays(
        [
            pa.array(column, field.type)
            for column, field in zip(columns, REJECTED_SCHEMA, strict=True)
        ],
        schema=REJECTED_SCHEMA,
    )
