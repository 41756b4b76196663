"""Compose SQL for PostGIS and DuckDB: identifiers are quoted, values are bound.

A fragment is text in which each value has a placeholder, and the values in the same order. The
placeholder is U+0000, which neither an identifier nor SQL text can contain; a database's own
placeholder is put in when the statement runs.

Used by `serving/features`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from geo_platform.errors import QueryInvalid

_PLACEHOLDER = "\0"


@dataclass(frozen=True)
class Fragment:
    """A part of a statement."""

    text: str
    values: tuple[Any, ...] = ()

    def __add__(self, other: "Fragment | str") -> "Fragment":
        added = other if isinstance(other, Fragment) else Fragment(other)
        return Fragment(self.text + added.text, self.values + added.values)

    def __radd__(self, other: str) -> "Fragment":
        return Fragment(other) + self

    def with_placeholder(self, placeholder: str, *, escape_percent: bool) -> str:
        """Return the text for a driver. psycopg reads `%` as a placeholder, so it is doubled."""
        text = self.text.replace("%", "%%") if escape_percent else self.text
        return text.replace(_PLACEHOLDER, placeholder)


def identifier(name: str) -> Fragment:
    """Return a quoted identifier. Raises QueryInvalid: the name contains U+0000."""
    if _PLACEHOLDER in name:
        raise QueryInvalid("No column has the character U+0000 in its name.")
    return Fragment('"' + name.replace('"', '""') + '"')


def bound(value: Any, as_type: str | None = None) -> Fragment:
    """Return a bound value, cast to an SQL type if `as_type` names one."""
    return Fragment(
        _PLACEHOLDER if as_type is None else f"CAST({_PLACEHOLDER} AS {as_type})", (value,)
    )


def joined(separator: str, parts: Iterable[Fragment]) -> Fragment:
    """Return the parts with a separator between them."""
    result = Fragment("")
    for number, part in enumerate(parts):
        result = result + separator + part if number else part
    return result


def all_of(conditions: Iterable[Fragment]) -> Fragment:
    """Return the conditions joined by AND, or TRUE if there is none."""
    found = [Fragment("(") + condition + ")" for condition in conditions]
    return joined(" AND ", found) if found else Fragment("TRUE")


def select(
    expressions: Iterable[Fragment],
    relation: Fragment,
    conditions: Iterable[Fragment] = (),
    *,
    order: Fragment | None = None,
    limit: int | None = None,
) -> Fragment:
    """Return a SELECT statement."""
    parts = [Fragment("SELECT"), joined(", ", expressions), Fragment("FROM"), relation]
    parts += [Fragment("WHERE"), all_of(conditions)]
    if order is not None:
        parts += [Fragment("ORDER BY"), order]
    if limit is not None:
        parts += [Fragment("LIMIT"), bound(limit)]
    return joined(" ", parts)
