"""Check whether the annotation of a consumer accepts the values of a producer's annotation.

Types are compared by structure, not by name. Two records fit if the producer gives every field that
the consumer needs, and the types of these fields fit. docs/contracts.md has the rules and their
reasons; `annotation.py` reads a single annotation.

Called by `dagster_config.py` and `verify.py`.
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
# Subclasses in Python that are refused: a boolean is not a number, and a time is not a day.
_DOES_NOT_NARROW = {(bool, int), (datetime, date)}


def faults(producer_type: Any, consumer_type: Any) -> list[Fault]:
    """Return every reason why `consumer_type` does not accept a value of `producer_type`.

    The result is empty if `consumer_type` accepts every value. Supports pydantic models,
    dataclasses, TypedDict, NamedTuple, enums, literals, unions, containers and plain classes.
    `Any`, a bare `list` or `dict` and a missing annotation are faults, because they accept any
    value.
    """
    return _compare(producer_type, consumer_type, frozenset())


def _compare(producer_type: Any, consumer_type: Any, seen: _Seen) -> list[Fault]:
    producer_type, consumer_type = unwrapped(producer_type), unwrapped(consumer_type)
    if any(map(accepts_anything, (*alternatives(producer_type), *alternatives(consumer_type)))):
        return [_fault(FaultKind.no_annotation, producer_type, consumer_type)]
    if (producer_type, consumer_type) in seen or (
        producer_type is consumer_type and producer_type not in _CONTAINERS
    ):
        return []
    if len(alternatives(producer_type)) > 1 or len(alternatives(consumer_type)) > 1:
        return _compare_unions(producer_type, consumer_type, seen)
    if allowed_values(producer_type) is not None or allowed_values(consumer_type) is not None:
        return _compare_values(producer_type, consumer_type, seen)
    if _is_container(producer_type) or _is_container(consumer_type):
        return _compare_containers(producer_type, consumer_type, seen)
    producer, consumer = record_of(producer_type), record_of(consumer_type)
    if producer and consumer and not _is_accepted_subclass(producer_type, consumer_type):
        return _compare_records(producer, consumer, seen | {(producer_type, consumer_type)})
    return _compare_classes(producer_type, consumer_type, seen)


def _compare_unions(producer_type: Any, consumer_type: Any, seen: _Seen) -> list[Fault]:
    consumer_members = alternatives(consumer_type)
    found_faults: list[Fault] = []
    for member in _members(producer_type, consumer_members):
        if member in consumer_members or object in consumer_members:
            continue
        if member is type(None):
            found_faults.append(
                _fault(FaultKind.optional_into_required, producer_type, consumer_type)
            )
            continue
        candidates = [
            _compare(member, candidate, seen)
            for candidate in consumer_members
            if candidate is not type(None)
        ]
        if all(candidates):
            found_faults.extend(
                candidates[0]
                if len(candidates) == 1
                else [_fault(FaultKind.wrong_type, member, consumer_type)]
            )
    return found_faults


def _members(producer_type: Any, consumer_members: Iterable[Any]) -> Iterator[Any]:
    """Yield the alternatives of the producer's type.

    If the consumer has several literals, each literal of the producer is yielded value by value.
    """
    literal_count = sum(get_origin(candidate) is Literal for candidate in consumer_members)
    for member in alternatives(producer_type):
        if get_origin(member) is Literal and literal_count > 1:
            yield from (Literal[value] for value in get_args(member))
        else:
            yield member


def _compare_values(producer_type: Any, consumer_type: Any, seen: _Seen) -> list[Fault]:
    producer_values, consumer_values = allowed_values(producer_type), allowed_values(consumer_type)
    if producer_values is None or (
        consumer_values is not None and not _values_are_comparable(producer_type, consumer_type)
    ):
        return [_fault(FaultKind.wrong_type, producer_type, consumer_type)]
    if consumer_values is None:
        if get_origin(producer_type) is not Literal:
            return _compare_classes(producer_type, consumer_type, seen)
        fits = all(
            not _compare(type(value), consumer_type, seen) for value in get_args(producer_type)
        )
        return [] if fits else [_fault(FaultKind.wrong_type, producer_type, consumer_type)]
    known = {(type(value), value) for value in consumer_values}
    unknown = [str(value) for value in producer_values if (type(value), value) not in known]
    return (
        [
            _fault(
                FaultKind.narrowed_values,
                producer_type,
                consumer_type,
                f"the consumer does not know {', '.join(unknown)}",
            )
        ]
        if unknown
        else []
    )


def _values_are_comparable(producer_type: Any, consumer_type: Any) -> bool:
    """Return whether the two types are both enums or both literals.

    A `StrEnum` or `IntEnum` can also be compared with a literal. A literal cannot be compared with
    an enum, unless all its values are enum members.
    """
    producer_is_literal, consumer_is_literal = (
        get_origin(producer_type) is Literal,
        get_origin(consumer_type) is Literal,
    )
    if producer_is_literal and not consumer_is_literal:
        return all(isinstance(value, Enum) for value in get_args(producer_type))
    return producer_is_literal or not consumer_is_literal or issubclass(producer_type, str | int)


def _compare_containers(producer_type: Any, consumer_type: Any, seen: _Seen) -> list[Fault]:
    producer_class, consumer_class = (
        get_origin(producer_type) or producer_type,
        get_origin(consumer_type) or consumer_type,
    )
    # In Python, text is also a sequence of texts. A consumer of a sequence never means text.
    is_text = producer_class in (str, bytes)
    if is_text or not (
        isinstance(producer_class, type)
        and isinstance(consumer_class, type)
        and issubclass(producer_class, consumer_class)
    ):
        return [_fault(FaultKind.wrong_type, producer_type, consumer_type)]
    if not _is_container(consumer_type):
        return []
    if issubclass(consumer_class, tuple):
        return _compare_tuples(producer_type, consumer_type, seen)
    if issubclass(consumer_class, Mapping):
        (producer_key, producer_value), (consumer_key, consumer_value) = (
            _arguments(producer_type, 2),
            _arguments(consumer_type, 2),
        )
        return _inside("{key}", _compare(producer_key, consumer_key, seen)) + _inside(
            "{}", _compare(producer_value, consumer_value, seen)
        )
    item = _arguments(consumer_type, 1)[0]
    items = (
        [part for part in _items(producer_type) if part is not ...]
        if issubclass(producer_class, tuple)
        else _arguments(producer_type, 1)
    )
    return _inside(
        "[]", [fault for part in dict.fromkeys(items) for fault in _compare(part, item, seen)]
    )


def _compare_tuples(producer_type: Any, consumer_type: Any, seen: _Seen) -> list[Fault]:
    producer_items, consumer_items = _items(producer_type), _items(consumer_type)
    if len(consumer_items) == 2 and consumer_items[1] is ...:
        parts = dict.fromkeys(part for part in producer_items if part is not ...)
        return _inside(
            "[]", [fault for part in parts for fault in _compare(part, consumer_items[0], seen)]
        )
    if len(producer_items) != len(consumer_items) or ... in producer_items:
        return [
            _fault(
                FaultKind.wrong_type, producer_type, consumer_type, "a different number of items"
            )
        ]
    pairs = enumerate(zip(producer_items, consumer_items, strict=True))
    return [fault.inside(f"[{index}]") for index, pair in pairs for fault in _compare(*pair, seen)]


def _compare_records(producer: Record, consumer: Record, seen: _Seen) -> list[Fault]:
    found_faults: list[Fault] = []
    unknown_fields = {
        name: field for name, field in producer.fields.items() if name not in consumer.fields
    }
    for name, consumer_field in consumer.fields.items():
        producer_field = producer.fields.get(name)
        if producer_field is not None:
            if consumer_field.required and not producer_field.always_present:
                found_faults.append(
                    _fault(
                        FaultKind.optional_into_required,
                        producer_field.annotation,
                        consumer_field.annotation,
                        "may be absent",
                    ).inside(name)
                )
            found_faults.extend(
                _inside(name, _compare(producer_field.annotation, consumer_field.annotation, seen))
            )
        elif consumer_field.required:
            note = _renaming(unknown_fields, consumer_field, seen)
            found_faults.append(
                Fault(
                    FaultKind.missing_field,
                    NOTHING,
                    type_name(consumer_field.annotation),
                    field=name,
                    note=note,
                )
            )
    if consumer.closed:
        found_faults.extend(
            Fault(FaultKind.extra_field, type_name(field.annotation), NOTHING, field=name)
            for name, field in unknown_fields.items()
        )
    return found_faults


def _renaming(
    unknown_fields: Mapping[str, RecordField], consumer_field: RecordField, seen: _Seen
) -> str:
    """Return a hint if the producer has exactly one unknown field, and its type fits this field."""
    if len(unknown_fields) != 1:
        return ""
    ((name, producer_field),) = unknown_fields.items()
    return (
        ""
        if _compare(producer_field.annotation, consumer_field.annotation, seen)
        else f"renamed from `{name}`?"
    )


def _compare_classes(producer_type: Any, consumer_type: Any, seen: _Seen) -> list[Fault]:
    if producer_type == consumer_type or (producer_type, consumer_type) in _WIDENS:
        return []
    if (
        isinstance(producer_type, type)
        and isinstance(consumer_type, type)
        and (producer_type, consumer_type) not in _DOES_NOT_NARROW
        and _is_subclass(producer_type, consumer_type)
    ):
        return []
    return [_fault(FaultKind.wrong_type, producer_type, consumer_type)]


def _is_accepted_subclass(producer_type: type, consumer_type: type) -> bool:
    # A model is not accepted as a subclass. It is stored and built again from its fields, so an
    # added field is an unknown field.
    return not issubclass(consumer_type, BaseModel) and _is_subclass(producer_type, consumer_type)


def _is_subclass(producer_type: type, consumer_type: type) -> bool:
    try:
        return issubclass(producer_type, consumer_type)
    except TypeError:
        # issubclass does not support TypedDict and protocols that are not runtime-checkable.
        return False


def _is_container(annotation: Any) -> bool:
    return (get_origin(annotation) or annotation) in _CONTAINERS


def _arguments(annotation: Any, count: int) -> tuple[Any, ...]:
    return get_args(annotation) or (Any,) * count


def _items(annotation: Any) -> tuple[Any, ...]:
    """Return the item types of a tuple: () for `tuple[()]`, and (Any, ...) for a bare `tuple`."""
    return get_args(annotation) if get_origin(annotation) is tuple else (Any, ...)


def _inside(prefix: str, found_faults: Iterable[Fault]) -> list[Fault]:
    return [fault.inside(prefix) for fault in found_faults]


def _fault(kind: FaultKind, producer_type: Any, consumer_type: Any, note: str = "") -> Fault:
    producer_type, consumer_type = unwrapped(producer_type), unwrapped(consumer_type)
    producer_name, consumer_name = type_name(producer_type), type_name(consumer_type)
    if producer_name == consumer_name and producer_type is not consumer_type:
        producer_name, consumer_name = (
            f"{getattr(side, '__module__', '')}.{name}"
            for side, name in ((producer_type, producer_name), (consumer_type, consumer_name))
        )
    return Fault(kind, producer_name, consumer_name, note=note)
