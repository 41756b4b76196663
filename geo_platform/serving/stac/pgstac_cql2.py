"""Write CQL2 filters as pgSTAC reads them.

pgSTAC compares a property with a time only by temporal operators, and has names of its own for
some operators.

Called by `database_search.py`.
"""

from collections.abc import Mapping
from typing import Any

_ARRAY_NAMES = {"a_containedBy": "a_contained_by"}
_TEMPORAL = {"<": ("t_before", False), ">": ("t_after", False), "=": ("t_equals", False)}
_TEMPORAL |= {"<=": ("t_after", True), ">=": ("t_before", True), "<>": ("t_equals", True)}


def for_pgstac(node: Any) -> Any:
    """Return the checked CQL2 JSON expression for pgSTAC's function `cql2_query`."""
    if not isinstance(node, Mapping) or "op" not in node:
        return _operand(node)
    operator, arguments = node["op"], node["args"]
    if operator in _TEMPORAL and any(map(_is_time, arguments)):
        name, is_negated = _TEMPORAL[operator]
        if _is_time(arguments[0]):
            name = {"t_before": "t_after", "t_after": "t_before"}.get(name, name)
            arguments = arguments[::-1]
        condition = {"op": name, "args": [_operand(each) for each in arguments]}
        return {"op": "not", "args": [condition]} if is_negated else condition
    if operator == "between" and any(map(_is_time, arguments)):
        subject, low, high = arguments
        return for_pgstac(
            {
                "op": "and",
                "args": [
                    {"op": ">=", "args": [subject, low]},
                    {"op": "<=", "args": [subject, high]},
                ],
            }
        )
    if operator.startswith("t_"):
        return {"op": operator, "args": [_moment(each) for each in arguments]}
    return {
        "op": _ARRAY_NAMES.get(operator, operator),
        "args": [for_pgstac(each) for each in arguments],
    }


def _is_time(operand: Any) -> bool:
    return isinstance(operand, Mapping) and ("timestamp" in operand or "date" in operand)


def _operand(operand: Any) -> Any:
    if isinstance(operand, Mapping) and "date" in operand:
        return {"timestamp": f"{operand['date']}T00:00:00Z"}
    return operand


def _moment(operand: Any) -> Any:
    # In a temporal operator, a date is the whole day.
    return operand["date"] if isinstance(operand, Mapping) and "date" in operand else operand
