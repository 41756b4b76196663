"""Read a type annotation: unwrap it, list its alternatives, values or fields, return it as text.

`compatibility.py` compares two annotations; `lock.py` describes the shape of a message.

Called by `compatibility.py`, `lock.py` and `verify.py`.
"""

import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typing_extensions
from pydantic import BaseModel

_WRAPPERS = (
    Annotated,
    typing_extensions.Required,
    typing_extensions.NotRequired,
    typing_extensions.ReadOnly,
)


@dataclasses.dataclass(frozen=True)
class RecordField:
    """One field of a record.

    `required`: a consumer needs a value for the field. `always_present`: a producer always gives a
    value for the field.
    """

    annotation: Any
    required: bool
    always_present: bool = True


@dataclasses.dataclass(frozen=True)
class Record:
    """A type with named fields: a model, dataclass, TypedDict or NamedTuple.

    A `closed` record refuses unknown fields.
    """

    fields: Mapping[str, RecordField]
    closed: bool


def unwrapped(annotation: Any) -> Any:
    """Return the annotation without `Annotated`, `Required`, `NewType` and type aliases.

    `None` becomes `type(None)`.
    """
    while True:
        if annotation is None:
            return type(None)
        if get_origin(annotation) in _WRAPPERS:
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            # Compared by name, because typing and typing_extensions have different classes of this
            # name.
            annotation = annotation.__value__
        else:
            return annotation


def accepts_anything(annotation: Any) -> bool:
    """Return whether the annotation accepts any value: `Any` or a type variable."""
    return annotation is Any or isinstance(annotation, typing.TypeVar)


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, flattened. For another type, return only the annotation.

    `None` in a literal is a separate member.
    """
    annotation = unwrapped(annotation)
    if get_origin(annotation) is Literal and None in get_args(annotation):
        values = tuple(value for value in get_args(annotation) if value is not None)
        return (Literal[values], type(None)) if values else (type(None),)
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(
            member for argument in get_args(annotation) for member in alternatives(argument)
        )
    return (annotation,)


def allowed_values(annotation: Any) -> tuple[Any, ...] | None:
    """Return the values of an enum or a literal, as they are stored; None for any other type."""
    if get_origin(annotation) is Literal:
        return tuple(
            value.value if isinstance(value, Enum) else value for value in get_args(annotation)
        )
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return tuple(member.value for member in annotation)
    return None


def record_of(annotation: Any) -> Record | None:
    """Return the fields of a model, dataclass, TypedDict or NamedTuple, or None for other types."""
    if not isinstance(annotation, type):
        return None
    if issubclass(annotation, BaseModel):
        return _model(annotation)
    if typing_extensions.is_typeddict(annotation):
        return _typed_dict(annotation)
    if dataclasses.is_dataclass(annotation):
        return _dataclass(annotation)
    if issubclass(annotation, tuple) and hasattr(annotation, "_field_defaults"):
        return _named_tuple(annotation)
    return None


def _model(model: type[BaseModel]) -> Record:
    fields = {
        name: RecordField(field.annotation, field.is_required())
        for name, field in model.model_fields.items()
    }
    return Record(fields, closed=model.model_config.get("extra") == "forbid")


def _dataclass(cls: type) -> Record:
    hints = _hints(cls)
    fields = {
        field.name: RecordField(
            hints[field.name],
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(cls)
        if field.init
    }
    return Record(fields, closed=True)


def _typed_dict(cls: Any) -> Record:
    required = cls.__required_keys__
    return Record(
        {
            name: RecordField(hint, name in required, name in required)
            for name, hint in _hints(cls).items()
        },
        closed=False,
    )


def _named_tuple(cls: Any) -> Record:
    hints = _hints(cls)
    return Record(
        {
            name: RecordField(hints.get(name, Any), name not in cls._field_defaults)
            for name in cls._fields
        },
        closed=True,
    )


def _hints(cls: type) -> dict[str, Any]:
    """Return the resolved type hints.

    If a name in the hints cannot be resolved, return all hints as written. Hints that are text are
    equal if their text is equal.
    """
    try:
        return typing_extensions.get_type_hints(cls, include_extras=True)
    except NameError:
        return {
            name: hint
            for base in reversed(cls.__mro__)
            for name, hint in inspect.get_annotations(base).items()
        }


def type_name(annotation: Any) -> str:
    """Return the type as text: `str | None`, `tuple[Band, ...]`, `Literal['a', 'b']`."""
    annotation = unwrapped(annotation)
    if annotation is Any:
        return "Any"
    if annotation is type(None):
        return "None"
    if annotation is ...:
        return "..."
    if len(members := alternatives(annotation)) > 1:
        return " | ".join(type_name(member) for member in members)
    if get_origin(annotation) is Literal:
        return f"Literal[{', '.join(map(repr, get_args(annotation)))}]"
    if origin := get_origin(annotation):
        arguments = ", ".join(map(_argument_name, get_args(annotation)))
        return f"{getattr(origin, '__name__', origin)}[{arguments}]"
    return (
        annotation
        if isinstance(annotation, str)
        else getattr(annotation, "__name__", None) or str(annotation)
    )


def _argument_name(argument: Any) -> str:
    return (
        f"[{', '.join(map(type_name, argument))}]"
        if isinstance(argument, list)
        else type_name(argument)
    )
