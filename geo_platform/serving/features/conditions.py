"""Translate a CQL2 expression into SQL over the columns of a collection.

Columns are looked up in the layout, and every value is bound. Types must agree, as CQL2 demands: a
comparison of text with a number is refused instead of left to a database to interpret. Only text
that is compared with a date or a time is read as one.

Source: OGC 21-065r2, Common Query Language (CQL2).

Called by `query.py`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import shapely
import shapely.geometry
from shapely.geometry.base import BaseGeometry

from geo_platform.errors import QueryInvalid
from geo_platform.serving.features.collections import FeatureCollection
from geo_platform.serving.features.cql2_text import MAX_DEPTH, too_deep
from geo_platform.serving.features.fragments import Fragment, bound, joined
from geo_platform.serving.features.opened import ColumnKind, OpenFeatures
from geo_platform.serving.features.positions import NamedCrs, to_stored
from geo_platform.serving.features.times import (
    Moment,
    as_kind,
    clock,
    kind_beside,
    parse_moment,
    temporal_condition,
)

_COMPARISONS = frozenset({"=", "<>", "<", "<=", ">", ">="})
_ARITHMETIC = frozenset({"+", "-", "*", "/", "%", "div", "^"})
_SPATIAL = {
    "s_intersects": "ST_Intersects",
    "s_equals": "ST_Equals",
    "s_disjoint": "ST_Disjoint",
    "s_touches": "ST_Touches",
    "s_within": "ST_Within",
    "s_overlaps": "ST_Overlaps",
    "s_crosses": "ST_Crosses",
    "s_contains": "ST_Contains",
}
_NUMBERS = frozenset({ColumnKind.integer, ColumnKind.single, ColumnKind.double})
_TIMES = frozenset({ColumnKind.date, ColumnKind.timestamp, ColumnKind.instant})
# Kinds that only IS NULL accepts.
_OPAQUE = frozenset({ColumnKind.binary, ColumnKind.json, ColumnKind.other})
_LARGEST_EXACT_REAL = 2.0**53
_LARGEST_INTEGER = 10**38


@dataclass(frozen=True)
class _Operand:
    """A value in SQL with its kind. `literal` is the value if the expression states it itself."""

    fragment: Fragment
    kind: ColumnKind
    literal: Any = None


class ConditionWriter:
    """Writes the conditions of one request to an opened collection."""

    def __init__(
        self, collection: FeatureCollection, opened: OpenFeatures, literal_crs: NamedCrs
    ) -> None:
        self._collection = collection
        self._opened = opened
        self._literal_crs = literal_crs

    def condition(self, node: Any, depth: int = 0) -> Fragment:
        """Return the SQL of an expression that is true or false.

        Raises QueryInvalid: it is no such expression of CQL2, or names an unknown property.
        """
        if depth > MAX_DEPTH:
            raise too_deep()
        if isinstance(node, bool):
            return Fragment("TRUE" if node else "FALSE")
        if isinstance(node, dict) and "property" in node:
            operand = self._operand(node, depth)
            if operand.kind is not ColumnKind.boolean:
                raise QueryInvalid(f"The property {node['property']!r} is not true or false.")
            return operand.fragment
        operator, arguments = _operation(node)
        name = operator.lower()
        if name in ("and", "or"):
            parts = ["(" + self.condition(argument, depth + 1) + ")" for argument in arguments]
            return joined(f" {name.upper()} ", parts)
        if name == "not":
            (argument,) = _exactly(1, operator, arguments)
            return "NOT (" + self.condition(argument, depth + 1) + ")"
        if operator in _COMPARISONS:
            left, right = _exactly(2, operator, arguments)
            return self._compare(operator, left, right, depth)
        if name in _SPATIAL:
            return self._spatial(name, *_exactly(2, operator, arguments))
        if name.startswith("t_"):
            first, second = _exactly(2, operator, arguments)
            return temporal_condition(
                name, *(self._ends(argument, depth) for argument in (first, second))
            )
        others: dict[str, Callable[[Sequence[Any], int], Fragment]] = {
            "between": self._between,
            "in": self._in,
            "like": self._like,
            "isnull": self._is_null,
        }
        if name not in others:
            raise QueryInvalid(f"The filter has an operator that is not supported: {operator!r}.")
        return others[name](arguments, depth)

    def equal(self, name: str, text: str) -> Fragment:
        """Return the condition that a property has the value that a query parameter states."""
        operand = self._property(name)
        return self._compare("=", {"property": name}, _typed(text, operand.kind, name), 0)

    def _compare(self, operator: str, left: Any, right: Any, depth: int) -> Fragment:
        first, second = self._pair(left, right, depth)
        return first.fragment + f" {operator} " + second.fragment

    def _between(self, arguments: Sequence[Any], depth: int) -> Fragment:
        value, low, high = _exactly(3, "between", arguments)
        return (
            "(" + self._compare(">=", value, low, depth)
            + " AND " + self._compare("<=", value, high, depth) + ")"
        )  # fmt: skip

    def _in(self, arguments: Sequence[Any], depth: int) -> Fragment:
        value, choices = _exactly(2, "in", arguments)
        if not isinstance(choices, list) or not choices:
            raise QueryInvalid("IN needs a list of values.")
        return "(" + joined(
            " OR ", [self._compare("=", value, choice, depth) for choice in choices]
        ) + ")"  # fmt: skip

    def _like(self, arguments: Sequence[Any], depth: int) -> Fragment:
        value, pattern = (
            self._operand(argument, depth) for argument in _exactly(2, "like", arguments)
        )
        if value.kind is not ColumnKind.text or pattern.kind is not ColumnKind.text:
            raise QueryInvalid("LIKE compares text with a pattern.")
        literal = pattern.literal or ""
        if (len(literal) - len(literal.rstrip("\\"))) % 2:
            raise QueryInvalid("The pattern of LIKE ends with a backslash that escapes nothing.")
        return value.fragment + " LIKE " + pattern.fragment + " ESCAPE '\\'"

    def _is_null(self, arguments: Sequence[Any], depth: int) -> Fragment:
        (value,) = _exactly(1, "isNull", arguments)
        if _property_name(value) == self._collection.geometry_column:
            return "(" + self._opened.layout.geometry + ") IS NULL"
        return "(" + self._operand(value, depth, opaque=True).fragment + ") IS NULL"

    def _pair(self, left: Any, right: Any, depth: int) -> tuple[_Operand, _Operand]:
        """Return both sides of a comparison, of the same kind."""
        first, second = self._operand(left, depth), self._operand(right, depth)
        if first.kind in _TIMES or second.kind in _TIMES:
            return _same_times(first, second)
        if first.kind is ColumnKind.time or second.kind is ColumnKind.time:
            return _clock(first), _clock(second)
        both = {first.kind, second.kind}
        if not (both <= _NUMBERS or len(both) == 1):
            raise QueryInvalid(
                f"The filter compares {_spoken(first.kind)} with {_spoken(second.kind)}."
            )
        return first, second

    def _operand(self, node: Any, depth: int, *, opaque: bool = False) -> _Operand:
        if depth > MAX_DEPTH:
            raise too_deep()
        if isinstance(node, (bool, int, float, str)):
            return _literal(node)
        if isinstance(node, dict) and "property" in node:
            return self._property(node["property"], opaque=opaque)
        if isinstance(node, dict) and ("date" in node or "timestamp" in node):
            moment = parse_moment(node.get("date") or node.get("timestamp"))
            kind = ColumnKind.date if moment.is_day else ColumnKind.instant
            return _Operand(as_kind(moment, kind), kind, moment)
        operator, arguments = _operation(node)
        name = operator.lower()
        if name in ("casei", "accenti"):
            (argument,) = _exactly(1, operator, arguments)
            inner = self._operand(argument, depth + 1)
            if inner.kind is not ColumnKind.text:
                raise QueryInvalid(f"{operator} is for text.")
            function = "lower" if name == "casei" else self._opened.without_accents
            return _Operand(function + "(" + inner.fragment + ")", ColumnKind.text)
        if name in _ARITHMETIC:
            return self._arithmetic(name, arguments, depth)
        raise QueryInvalid(f"The filter has a function that is not supported: {operator!r}.")

    def _arithmetic(self, name: str, arguments: Sequence[Any], depth: int) -> _Operand:
        first, second = (
            self._operand(argument, depth + 1) for argument in _exactly(2, name, arguments)
        )
        if not {first.kind, second.kind} <= _NUMBERS:
            raise QueryInvalid(f"The operator {name!r} is for numbers.")
        left, right = "(" + first.fragment + ")", "(" + second.fragment + ")"
        if name in ("+", "-", "*"):
            kind = (
                ColumnKind.integer
                if first.kind is second.kind is ColumnKind.integer
                else ColumnKind.double
            )
            return _Operand("(" + left + f" {name} " + right + ")", kind)
        # Databases disagree on the division of integers, and on a division by zero.
        real = "CAST(" + left + " AS double precision)"
        divisor = "NULLIF(CAST(" + right + " AS double precision), 0)"
        if name == "^":
            return _Operand("power(" + real + ", " + right + ")", ColumnKind.double)
        quotient = "(" + real + " / " + divisor + ")"
        if name == "/":
            return _Operand(quotient, ColumnKind.double)
        whole = "trunc(" + quotient + ")"
        if name == "div":
            return _Operand(whole, ColumnKind.double)
        return _Operand("(" + real + " - " + divisor + " * " + whole + ")", ColumnKind.double)

    def _property(self, name: Any, *, opaque: bool = False) -> _Operand:
        found = self._opened.layout.column(name) if isinstance(name, str) else None
        if found is None:
            raise QueryInvalid(
                f"The collection {self._collection.id!r} has no property {str(name)[:200]!r}.",
                remedy=f"GET /features/collections/{self._collection.id}/queryables lists them.",
            )
        if found.kind in _OPAQUE and not opaque:
            raise QueryInvalid(
                f"The property {found.name!r} can only be compared with NULL: it holds "
                f"{_spoken(found.kind)}."
            )
        return _Operand(found.comparable, found.kind)

    def _spatial(self, name: str, left: Any, right: Any) -> Fragment:
        opened = self._opened
        shapes = [self._shape(argument) for argument in (left, right)]
        stored = [
            opened.layout.geometry if shape is None else opened.shape(shape) for shape in shapes
        ]
        exact = f"{_SPATIAL[name]}(" + stored[0] + ", " + stored[1] + ")"
        given = [shape for shape in shapes if shape is not None]
        if name == "s_disjoint" or len(given) != 1:
            return exact
        return "(" + opened.near(given[0]) + " AND " + exact + ")"

    def _shape(self, node: Any) -> BaseGeometry | None:
        """Return a geometry of the filter in the stored CRS, None for the collection's own."""
        name = _property_name(node)
        if name is not None:
            if name != self._collection.geometry_column:
                raise QueryInvalid(
                    f"The geometry of the collection is {self._collection.geometry_column!r}, "
                    f"not {name[:200]!r}."
                )
            return None
        shape = _parse_shape(node)
        if shape.is_empty or not shape.is_valid:
            raise QueryInvalid(
                f"A geometry of the filter is not valid: {shapely.is_valid_reason(shape)[:200]}."
            )
        return to_stored(shape, self._literal_crs, self._collection)

    def _ends(self, node: Any, depth: int) -> tuple[Any, Any]:
        """Return start and end of a time: a `Moment`, a column with its kind, or None for open."""
        if isinstance(node, dict) and "interval" in node:
            ends = node["interval"]
            if not isinstance(ends, list) or len(ends) != 2:
                raise QueryInvalid("An interval has two ends.")
            start, end = ends
            return (
                None if start == ".." else self._end(start, depth),
                None if end == ".." else self._end(end, depth, is_last=True),
            )
        return self._end(node, depth), self._end(node, depth, is_last=True)

    def _end(self, node: Any, depth: int, *, is_last: bool = False) -> Any:
        operand = self._operand(node, depth)
        if operand.kind is ColumnKind.text and isinstance(operand.literal, str):
            return parse_moment(operand.literal).at(is_last=is_last)
        if isinstance(operand.literal, Moment):
            return operand.literal.at(is_last=is_last)
        if operand.kind not in _TIMES:
            raise QueryInvalid(f"The filter compares {_spoken(operand.kind)} with a time.")
        return operand.fragment, operand.kind


def _operation(node: Any) -> tuple[str, Sequence[Any]]:
    if (
        not isinstance(node, dict)
        or not isinstance(node.get("op"), str)
        or not isinstance(node.get("args"), list)
    ):
        raise QueryInvalid(f"The filter has a part that is no CQL2 expression: {str(node)[:100]}.")
    return node["op"], node["args"]


def _exactly(count: int, operator: str, arguments: Sequence[Any]) -> Sequence[Any]:
    if len(arguments) != count:
        raise QueryInvalid(f"{operator} needs {count} arguments; it has {len(arguments)}.")
    return arguments


def _literal(value: bool | int | float | str) -> _Operand:
    if isinstance(value, bool):
        return _Operand(Fragment("TRUE" if value else "FALSE"), ColumnKind.boolean, value)
    if isinstance(value, str):
        if "\0" in value:
            raise QueryInvalid("No text of a collection has the character U+0000.")
        return _Operand(bound(value, "VARCHAR"), ColumnKind.text, value)
    if abs(value) >= _LARGEST_INTEGER:
        raise QueryInvalid(f"The filter has a number that is too large: {str(value)[:50]}.")
    if value != value or (isinstance(value, float) and abs(value) == float("inf")):
        raise QueryInvalid("The filter has a number that is not finite.")
    if isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST_EXACT_REAL:
        value = int(value)
    if isinstance(value, int):
        return _Operand(bound(value), ColumnKind.integer, value)
    return _Operand(bound(value, "double precision"), ColumnKind.double, value)


def _same_times(first: _Operand, second: _Operand) -> tuple[_Operand, _Operand]:
    """Return both sides of a comparison of times; a literal takes the kind of the other side."""
    moments = [_moment(operand) for operand in (first, second)]
    if moments[0] is not None and moments[1] is None:
        return _compare_as(moments[0], second), second
    if moments[1] is not None and moments[0] is None:
        return first, _compare_as(moments[1], first)
    if moments[0] is not None and moments[1] is not None:
        kind = ColumnKind.instant
        return _Operand(as_kind(moments[0], kind), kind), _Operand(as_kind(moments[1], kind), kind)
    if (first.kind is ColumnKind.instant) != (second.kind is ColumnKind.instant):
        raise QueryInvalid("The filter compares a time with a zone and one without.")
    return first, second


def _compare_as(moment: Moment, column: _Operand) -> _Operand:
    if column.kind not in _TIMES:
        raise QueryInvalid(f"The filter compares a time with {_spoken(column.kind)}.")
    kind = kind_beside(moment, column.kind)
    return _Operand(as_kind(moment, kind), kind)


def _moment(operand: _Operand) -> Moment | None:
    if isinstance(operand.literal, Moment):
        return operand.literal
    if operand.kind is ColumnKind.text and isinstance(operand.literal, str):
        return parse_moment(operand.literal)
    return None


def _clock(operand: _Operand) -> _Operand:
    """Return a time of the day; text is read as one."""
    if operand.kind is ColumnKind.text and isinstance(operand.literal, str):
        return _Operand(clock(operand.literal), ColumnKind.time)
    if operand.kind is not ColumnKind.time:
        raise QueryInvalid(f"The filter compares a time of the day with {_spoken(operand.kind)}.")
    return operand


def _typed(text: str, kind: ColumnKind, name: str) -> Any:
    """Return the value that the text of a query parameter states, by the kind of the property."""
    try:
        if kind is ColumnKind.integer:
            return int(text)
        if kind in _NUMBERS:
            return float(text)
        if kind is ColumnKind.boolean:
            return {"true": True, "false": False}[text.lower()]
    except (ValueError, KeyError) as error:
        raise QueryInvalid(f"{name}: {text[:100]!r} is not {_spoken(kind)}.") from error
    return text


def _property_name(node: Any) -> str | None:
    name = node.get("property") if isinstance(node, dict) else None
    return name if isinstance(name, str) else None


def _parse_shape(node: Any) -> BaseGeometry:
    try:
        if isinstance(node, dict) and "bbox" in node:
            numbers = [float(number) for number in node["bbox"]]
            half = len(numbers) // 2
            if len(numbers) not in (4, 6):
                raise ValueError("a bbox has 4 or 6 numbers")
            shape: BaseGeometry = shapely.box(
                numbers[0], numbers[1], numbers[half], numbers[half + 1]
            )
        elif isinstance(node, dict) and "type" in node:
            shape = shapely.geometry.shape(node)
        else:
            raise ValueError("it is neither GeoJSON nor a bbox")
        coordinates = shapely.get_coordinates(shape)
    except (
        ValueError, TypeError, KeyError, AttributeError, IndexError, shapely.errors.ShapelyError,
    ) as error:  # fmt: skip
        raise QueryInvalid(
            f"The filter has a geometry that cannot be read: {str(error)[:200]}."
        ) from error
    if not ((coordinates > -1e12) & (coordinates < 1e12)).all():
        raise QueryInvalid("A geometry of the filter has coordinates that are not on the Earth.")
    return shapely.force_2d(shape)


def _spoken(kind: ColumnKind) -> str:
    return {
        ColumnKind.integer: "an integer",
        ColumnKind.single: "a number",
        ColumnKind.double: "a number",
        ColumnKind.boolean: "a truth value",
        ColumnKind.instant: "a time",
        ColumnKind.timestamp: "a time without a zone",
        ColumnKind.date: "a date",
        ColumnKind.time: "a time of the day",
        ColumnKind.binary: "binary data",
        ColumnKind.json: "JSON",
    }.get(kind, str(kind.value))
