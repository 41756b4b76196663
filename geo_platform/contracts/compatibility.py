"""Check whether values of one annotation are accepted by another: `faults(producer, consumer)`.

Types are compared by structure, not by name: two records fit if the producer gives every field that
the consumer needs, with a type that fits. docs/contracts.md has the rules and their reasons;
`annotation.py` reads a single annotation.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from geo_platform.contracts.annotation import (
    Record,
    RecordField,
    accepts_anything,
    allowed_values,
    alternatives,
    record_of,
    type_name,
    unwrapped,
)
from geo_platform.contracts.fault import NOTHING, Fault, FaultKind

_Seen = frozenset[tuple[Any, Any]]
_CONTAINERS = frozenset(
    {list, tuple, set, frozenset, dict, Mapping, Sequence, Collection, Iterable}
)
_WIDENS = {(int, float)}
# Subclasses in Python that mean something else: true is not 1, and a point in time is not a day.
_DOES_NOT_NARROW = {(bool, int), (datetime, date)}


def faults(producer_type: Any, consumer_type: Any) -> list[Fault]:
    """Return every reason why `consumer_type` does not accept a value of `producer_type`.

    Supports pydantic models, dataclasses, TypedDict, NamedTuple, enums, literals, unions,
    containers and plain classes. `Any`, a bare `list` or `dict` and a missing annotation are
    faults, because they let any value pass.
    """
    return _compare(producer_type, consumer_type, frozenset())


def _compare(given: Any, taken: Any, seen: _Seen) -> list[Fault]:
    given, taken = unwrapped(given), unwrapped(taken)
    if any(map(accepts_anything, (*alternatives(given), *alternatives(taken)))):
        return [_fault(FaultKind.no_annotation, given, taken)]
    if (given, taken) in seen or (given is taken and given not in _CONTAINERS):
        return []
    if len(alternatives(given)) > 1 or len(alternatives(taken)) > 1:
        return _compare_unions(given, taken, seen)
    if allowed_values(given) is not None or allowed_values(taken) is not None:
        return _compare_values(given, taken, seen)
    if _is_container(given) or _is_container(taken):
        return _compare_containers(given, taken, seen)
    producer, consumer = record_of(given), record_of(taken)
    if producer and consumer and not _is_accepted_subclass(given, taken):
        return _compare_records(producer, consumer, seen | {(given, taken)})
    return _compare_classes(given, taken, seen)


def _compare_unions(given: Any, taken: Any, seen: _Seen) -> list[Fault]:
    takes = alternatives(taken)
    found: list[Fault] = []
    for member in _members(given, takes):
        if member in takes or object in takes:
            continue
        if member is type(None):
            found.append(_fault(FaultKind.optional_into_required, given, taken))
            continue
        candidates = [
            _compare(member, candidate, seen) for candidate in takes if candidate is not type(None)
        ]
        if all(candidates):
            found.extend(
                candidates[0]
                if len(candidates) == 1
                else [_fault(FaultKind.wrong_type, member, taken)]
            )
    return found


def _members(given: Any, takes: Iterable[Any]) -> Iterator[Any]:
    """Yield the alternatives of `given`; literals value by value if `takes` has several."""
    literals_taken = sum(get_origin(candidate) is Literal for candidate in takes)
    for member in alternatives(given):
        if get_origin(member) is Literal and literals_taken > 1:
            yield from (Literal[value] for value in get_args(member))
        else:
            yield member


def _compare_values(given: Any, taken: Any, seen: _Seen) -> list[Fault]:
    gives, takes = allowed_values(given), allowed_values(taken)
    if gives is None or (takes is not None and not _values_are_comparable(given, taken)):
        return [_fault(FaultKind.wrong_type, given, taken)]
    if takes is None:
        if get_origin(given) is not Literal:
            return _compare_classes(given, taken, seen)
        fits = all(not _compare(type(value), taken, seen) for value in get_args(given))
        return [] if fits else [_fault(FaultKind.wrong_type, given, taken)]
    known = {(type(value), value) for value in takes}
    unknown = [str(value) for value in gives if (type(value), value) not in known]
    return (
        [
            _fault(
                FaultKind.narrowed_values,
                given,
                taken,
                f"the consumer does not know {', '.join(unknown)}",
            )
        ]
        if unknown
        else []
    )


def _values_are_comparable(given: Any, taken: Any) -> bool:
    """Return whether both are enums or both are literals.

    A `StrEnum` or `IntEnum` also fits a literal, but a literal does not fit an enum.
    """
    given_is_literal, taken_is_literal = get_origin(given) is Literal, get_origin(taken) is Literal
    if given_is_literal and not taken_is_literal:
        return all(isinstance(value, Enum) for value in get_args(given))
    return given_is_literal or not taken_is_literal or issubclass(given, str | int)


def _compare_containers(given: Any, taken: Any, seen: _Seen) -> list[Fault]:
    given_class, taken_class = get_origin(given) or given, get_origin(taken) or taken
    # Text is a sequence of texts to Python, which is never what was meant.
    is_text = given_class in (str, bytes)
    if is_text or not (
        isinstance(given_class, type)
        and isinstance(taken_class, type)
        and issubclass(given_class, taken_class)
    ):
        return [_fault(FaultKind.wrong_type, given, taken)]
    if not _is_container(taken):
        return []
    if issubclass(taken_class, tuple):
        return _compare_tuples(given, taken, seen)
    if issubclass(taken_class, Mapping):
        (given_key, given_value), (taken_key, taken_value) = (
            _arguments(given, 2),
            _arguments(taken, 2),
        )
        return _inside("{key}", _compare(given_key, taken_key, seen)) + _inside(
            "{}", _compare(given_value, taken_value, seen)
        )
    item = _arguments(taken, 1)[0]
    items = (
        [part for part in _items(given) if part is not ...]
        if issubclass(given_class, tuple)
        else _arguments(given, 1)
    )
    return _inside(
        "[]", [fault for part in dict.fromkeys(items) for fault in _compare(part, item, seen)]
    )


def _compare_tuples(given: Any, taken: Any, seen: _Seen) -> list[Fault]:
    gives, takes = _items(given), _items(taken)
    if len(takes) == 2 and takes[1] is ...:
        parts = dict.fromkeys(part for part in gives if part is not ...)
        return _inside("[]", [fault for part in parts for fault in _compare(part, takes[0], seen)])
    if len(gives) != len(takes) or ... in gives:
        return [_fault(FaultKind.wrong_type, given, taken, "a different number of items")]
    pairs = enumerate(zip(gives, takes, strict=True))
    return [fault.inside(f"[{index}]") for index, pair in pairs for fault in _compare(*pair, seen)]


def _compare_records(producer: Record, consumer: Record, seen: _Seen) -> list[Fault]:
    found: list[Fault] = []
    unknown_fields = {
        name: field for name, field in producer.fields.items() if name not in consumer.fields
    }
    for name, taken in consumer.fields.items():
        given = producer.fields.get(name)
        if given is not None:
            if taken.required and not given.always_present:
                found.append(
                    _fault(
                        FaultKind.optional_into_required,
                        given.annotation,
                        taken.annotation,
                        "may be absent",
                    ).inside(name)
                )
            found.extend(_inside(name, _compare(given.annotation, taken.annotation, seen)))
        elif taken.required:
            note = _renaming(unknown_fields, taken, seen)
            found.append(
                Fault(
                    FaultKind.missing_field,
                    NOTHING,
                    type_name(taken.annotation),
                    field=name,
                    note=note,
                )
            )
    if consumer.closed:
        found.extend(
            Fault(FaultKind.extra_field, type_name(field.annotation), NOTHING, field=name)
            for name, field in unknown_fields.items()
        )
    return found


def _renaming(unknown_fields: Mapping[str, RecordField], taken: RecordField, seen: _Seen) -> str:
    """Return a hint if the producer has exactly one unknown field, and it would fit this one."""
    if len(unknown_fields) != 1:
        return ""
    ((name, given),) = unknown_fields.items()
    return "" if _compare(given.annotation, taken.annotation, seen) else f"renamed from `{name}`?"


def _compare_classes(given: Any, taken: Any, seen: _Seen) -> list[Fault]:
    if given == taken or (given, taken) in _WIDENS:
        return []
    if (
        isinstance(given, type)
        and isinstance(taken, type)
        and (given, taken) not in _DOES_NOT_NARROW
        and _is_subclass(given, taken)
    ):
        return []
    return [_fault(FaultKind.wrong_type, given, taken)]


def _is_accepted_subclass(given: type, taken: type) -> bool:
    # A model is excluded: it is built again from its fields, so an added field matters.
    return not issubclass(taken, BaseModel) and _is_subclass(given, taken)


def _is_subclass(given: type, taken: type) -> bool:
    try:
        return issubclass(given, taken)
    except TypeError:
        # TypedDict and protocols that are not runtime-checkable do not support the test.
        return False


def _is_container(annotation: Any) -> bool:
    return (get_origin(annotation) or annotation) in _CONTAINERS


def _arguments(annotation: Any, count: int) -> tuple[Any, ...]:
    return get_args(annotation) or (Any,) * count


def _items(annotation: Any) -> tuple[Any, ...]:
    """Return the item types of a tuple: none for `tuple[()]`, any number for a bare `tuple`."""
    return get_args(annotation) if get_origin(annotation) is tuple else (Any, ...)


def _inside(prefix: str, found: Iterable[Fault]) -> list[Fault]:
    return [fault.inside(prefix) for fault in found]


def _fault(kind: FaultKind, given: Any, taken: Any, note: str = "") -> Fault:
    given, taken = unwrapped(given), unwrapped(taken)
    gives, takes = type_name(given), type_name(taken)
    if gives == takes and given is not taken:
        gives, takes = (
            f"{getattr(side, '__module__', '')}.{name}"
            for side, name in ((given, gives), (taken, takes))
        )
    return Fault(kind, gives, takes, note=note)
