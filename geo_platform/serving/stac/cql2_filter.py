"""Parse CQL2 filters, text or JSON, and check that both catalogs can evaluate them.

The package `cql2` parses. Its check by JSON Schema takes exponential time for nested expressions,
and its parser overflows the stack for very deep ones, so that this module bounds the text first and
checks operators and operands itself.

Source: OGC 21-065r2, Common Query Language (CQL2).

Called by `indexed_item.py` and `request.py`.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import cql2

from geo_platform.errors import QueryInvalid
from geo_platform.serving.stac.area import area_of, geometry_document

Expression = Any  # CQL2 JSON: a boolean, or an object with `op` and `args`

MAX_TEXT = 10_000
MAX_OPERATORS = 200
MAX_DEPTH = 24

_COMPARISONS = frozenset({"=", "<>", "<", "<=", ">", ">="})
_SPATIAL = {
    # operator: the operator with swapped operands
    "s_intersects": "s_intersects",
    "s_disjoint": "s_disjoint",
    "s_equals": "s_equals",
    "s_touches": "s_touches",
    "s_crosses": "s_crosses",
    "s_overlaps": "s_overlaps",
    "s_contains": "s_within",
    "s_within": "s_contains",
}
_TEMPORAL = frozenset(
    (
        "t_after",
        "t_before",
        "t_contains",
        "t_disjoint",
        "t_during",
        "t_equals",
        "t_finishedBy",
        "t_finishes",
        "t_intersects",
        "t_meets",
        "t_metBy",
        "t_overlappedBy",
        "t_overlaps",
        "t_startedBy",
        "t_starts",
    )
)
_ARRAYS = frozenset({"a_equals", "a_contains", "a_containedBy", "a_overlaps"})

# Each of these makes the parser recurse. A minus sign before a digit is part of a number.
_OPERATOR = re.compile(r"\b(?:NOT|AND|OR|DIV|LIKE|IN|BETWEEN|IS)\b|-(?!\d)|[+*/^%=<>]", re.I)
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"")

# Properties that a filter may name besides those of items.
ITEM_FIELDS = frozenset({"id", "collection", "geometry", "datetime"})


def parse_text(text: str) -> Expression:
    """Return the CQL2 JSON of a filter in CQL2 text.

    Raises QueryInvalid: the text is not CQL2, is too long or too deeply nested, or the
    platform does not support an operator of it.
    """
    _check_size(text)
    try:
        expression = cql2.parse_text(text).to_json()
    except Exception as error:  # cql2 raises subclasses of Exception only
        raise _invalid(f"it is not CQL2 text: {_reason(error)}") from error
    return checked(expression)


def parse_json(document: Any) -> Expression:
    """Return the CQL2 JSON of a filter in CQL2 JSON, normalised.

    Raises QueryInvalid: the document is not CQL2 JSON, is too large or too deeply nested, or
    the platform does not support an operator of it.
    """
    _check_depth(document, 0)
    try:
        text = json.dumps(document, allow_nan=False)
        if len(text) > 10 * MAX_TEXT:
            raise _invalid(f"it is longer than {10 * MAX_TEXT} characters")
        expression = cql2.parse_json(text).to_json()
    except QueryInvalid:
        raise
    except Exception as error:  # cql2 raises subclasses of Exception only
        raise _invalid(f"it is not CQL2 JSON: {_reason(error)}") from error
    return checked(expression)


def from_query(query: Mapping[str, Any]) -> Expression:
    """Return the CQL2 JSON of the parameter `query` of the query extension.

    Raises QueryInvalid: an operator is unknown, or a value does not fit its operator.
    """
    conditions: list[Expression] = []
    for name, operations in query.items():
        if not isinstance(operations, Mapping):
            raise QueryInvalid(
                f"query: the value of {name!r} is not an object of operators.",
                remedy='Write it as {"gsd": {"lte": 10}}.',
            )
        for operator, value in operations.items():
            conditions.append(_query_condition({"property": name}, operator, value))
    if not conditions:
        return True
    return parse_json(conditions[0] if len(conditions) == 1 else _all(conditions))


def both(*expressions: Expression | None) -> Expression | None:
    """Return the expression that is true where all of these are; None stands for no condition."""
    given = [expression for expression in expressions if expression is not None]
    return None if not given else given[0] if len(given) == 1 else _all(given)


def properties_of(expression: Expression) -> Iterator[str]:
    """Yield the name of each property in the expression, without the prefix `properties.`."""
    if isinstance(expression, Mapping):
        if isinstance(expression.get("property"), str):
            yield expression["property"].removeprefix("properties.")
        for argument in expression.get("args", ()):
            yield from properties_of(argument)


def checked(expression: Expression) -> Expression:
    """Return the expression with spatial operands as GeoJSON, the property first.

    Raises QueryInvalid: an operator or an operand is not supported.
    """
    _check_depth(expression, 0)
    return _condition(expression)


def _all(conditions: list[Expression]) -> Expression:
    return {"op": "and", "args": conditions}


def _query_condition(subject: Expression, operator: str, value: Any) -> Expression:
    comparison = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
    if operator in comparison:
        return {"op": comparison[operator], "args": [subject, value]}
    if operator == "in" and isinstance(value, list):
        return {"op": "in", "args": [subject, value]}
    pattern = {"startsWith": "{}%", "endsWith": "%{}", "contains": "%{}%"}.get(operator)
    if pattern is None or not isinstance(value, str):
        raise QueryInvalid(
            f"query: {operator!r} with {value!r} is not supported.",
            remedy="Use eq, neq, lt, lte, gt, gte, in, startsWith, endsWith or contains.",
        )
    escaped = re.sub(r"([\\%_])", r"\\\1", value)
    return {"op": "like", "args": [subject, pattern.format(escaped)]}


def _condition(node: Expression) -> Expression:
    if isinstance(node, bool):
        return node
    operator, arguments = _operation(node)
    if operator in ("and", "or") and len(arguments) > 1:
        return {"op": operator, "args": [_condition(argument) for argument in arguments]}
    if operator == "not" and len(arguments) == 1:
        return {"op": operator, "args": [_condition(arguments[0])]}
    if operator in _COMPARISONS and len(arguments) == 2:
        return {"op": operator, "args": _one_property([_scalar(each) for each in arguments])}
    if operator == "between" and len(arguments) == 2 and isinstance(arguments[1], list):
        arguments = [arguments[0], *arguments[1]]  # as in drafts of CQL2
    if operator == "between" and len(arguments) == 3:
        return {"op": operator, "args": _one_property([_scalar(each) for each in arguments])}
    if operator == "like" and len(arguments) == 2:
        return {"op": operator, "args": [_text(arguments[0], True), _text(arguments[1], False)]}
    if operator == "in" and len(arguments) == 2 and isinstance(arguments[1], list):
        values = [_literal(_scalar(each)) for each in arguments[1]]
        if values and len({_kind(value) for value in values}) == 1:
            return {"op": operator, "args": [_property(_scalar(arguments[0])), values]}
        raise _invalid("the list of IN has no values, or values of several types")
    if operator == "isNull" and len(arguments) == 1:
        return {"op": operator, "args": [_property(arguments[0])]}
    if operator in _SPATIAL and len(arguments) == 2:
        return _spatial(operator, arguments)
    if operator in _TEMPORAL and len(arguments) == 2:
        return {"op": operator, "args": [_moment(argument) for argument in arguments]}
    if operator in _ARRAYS and len(arguments) == 2:
        return {"op": operator, "args": [_property(arguments[0]), _texts(arguments[1])]}
    raise _invalid(f"{operator!r} with {len(arguments)} operands is not supported")


def _operation(node: Expression) -> tuple[str, list[Any]]:
    if not isinstance(node, Mapping) or not isinstance(node.get("op"), str):
        raise _invalid(f"{_short(node)} is not a condition")
    arguments = node.get("args")
    if not isinstance(arguments, list):
        raise _invalid(f"the operands of {node['op']!r} are not a list")
    return node["op"], arguments


def _scalar(operand: Any) -> Any:
    """Check a property, a literal, an instant, or one of these in CASEI."""
    if isinstance(operand, Mapping):
        if operand.get("op") == "casei" and len(operand.get("args") or ()) == 1:
            return {"op": "casei", "args": [_text(operand["args"][0], None)]}
        if "property" in operand:
            return _property(operand)
        return _instant(operand)
    return _literal(operand)


def _literal(operand: Any) -> Any:
    if isinstance(operand, str | bool) or (
        isinstance(operand, int | float) and math.isfinite(operand)
    ):
        if isinstance(operand, str) and "\0" in operand:
            raise _invalid("a text has a null character")
        return operand
    if isinstance(operand, Mapping):
        return operand if operand.get("op") == "casei" else _instant(operand)
    raise _invalid(f"{_short(operand)} is not a literal")


def _kind(value: Any) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def _instant(operand: Any) -> dict[str, str]:
    from geo_platform.serving.stac.interval import instant

    for name in ("timestamp", "date"):
        text = operand.get(name) if isinstance(operand, Mapping) and len(operand) == 1 else None
        if isinstance(text, str):
            instant(text if name == "timestamp" else f"{text}T00:00:00Z", "filter")
            return {name: text}
    raise _invalid(f"{_short(operand)} is not a time")


def _moment(operand: Any) -> Any:
    """Check an operand of a temporal operator: a property, an instant or an interval."""
    if isinstance(operand, Mapping) and "property" in operand:
        return _property(operand)
    if isinstance(operand, Mapping) and isinstance(operand.get("interval"), list):
        ends = operand["interval"]
        if len(ends) != 2:
            raise _invalid("an interval does not have two ends")
        for end in ends:
            if isinstance(end, Mapping):
                _property(end)
            elif end != "..":
                text = end if isinstance(end, str) else ""
                name = "date" if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else "timestamp"
                _instant({name: text})
        return {"interval": ends}
    return _instant(operand)


def _property(operand: Any) -> dict[str, Any]:
    if isinstance(operand, Mapping) and operand.get("op") == "casei":
        return dict(operand)
    name = operand.get("property") if isinstance(operand, Mapping) else None
    if not isinstance(name, str) or not name.removeprefix("properties.").strip() or "\0" in name:
        raise _invalid(f"{_short(operand)} is not a property")
    return {"property": name.removeprefix("properties.")}


def _text(operand: Any, is_property: bool | None) -> Any:
    """Check a property (True), a text (False) or either (None), which may be in CASEI."""
    if isinstance(operand, Mapping) and operand.get("op") == "casei":
        arguments = operand.get("args") or []
        if len(arguments) == 1:
            return {"op": "casei", "args": [_text(arguments[0], is_property)]}
    if isinstance(operand, str) and not is_property:
        return _literal(operand)
    if is_property is False:
        raise _invalid(f"{_short(operand)} is not a text")
    return _property(operand)


def _texts(operand: Any) -> list[str]:
    if not isinstance(operand, list) or not all(isinstance(each, str) for each in operand):
        raise _invalid(f"{_short(operand)} is not a list of texts")
    return [_literal(each) for each in operand]


def _one_property(operands: list[Any]) -> list[Any]:
    """Check that exactly one operand is a property: two have no common type in both catalogs."""
    count = sum(any(True for _ in properties_of(operand)) for operand in operands)
    if count != 1:
        raise _invalid("a comparison needs one property and otherwise literals")
    return operands


def _spatial(operator: str, arguments: list[Any]) -> Expression:
    first, second = arguments
    if not (isinstance(first, Mapping) and "property" in first):
        operator, first, second = _SPATIAL[operator], second, first
    if _property(first)["property"] != "geometry":
        raise _invalid("a spatial operator compares the property 'geometry' with a geometry")
    area = area_of(second.get("bbox") if set(second) == {"bbox"} else second, "filter")
    return {"op": operator, "args": [{"property": "geometry"}, geometry_document(area)]}


def _check_size(text: str) -> None:
    if len(text) > MAX_TEXT:
        raise _invalid(f"it is longer than {MAX_TEXT} characters")
    bare, depth, deepest = _QUOTED.sub("x", text), 0, 0
    for character in bare:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH or len(_OPERATOR.findall(bare)) > MAX_OPERATORS:
        raise _invalid(f"it is nested over {MAX_DEPTH} deep, or has over {MAX_OPERATORS} operators")


def _check_depth(node: Any, depth: int) -> None:
    if depth > 2 * MAX_DEPTH:
        raise _invalid("it is nested too deeply")
    if isinstance(node, Mapping):
        for part in node.values():
            _check_depth(part, depth + 1)
    elif isinstance(node, list):
        for part in node:
            _check_depth(part, depth + 1)


def _invalid(reason: str) -> QueryInvalid:
    return QueryInvalid(
        f"filter: {reason}.",
        remedy="docs/serving.md lists the operators; GET /stac/queryables lists the properties.",
    )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")


def _short(value: Any) -> str:
    return repr(value)[:60]
