"""Reading a type annotation: what it is once aliases are taken off, which fields it has, how it is printed.

What belongs here: facts about one annotation. What stays out: comparing two (`compatibility.py`), and a message's shape
for the lock (`lock.py`).
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


@dataclasses.dataclass(frozen=True)
class RecordField:
    """One field of a record. `required`: a consumer cannot do without it. `certain`: a producer always gives it."""

    annotation: Any
    required: bool
    certain: bool = True


@dataclasses.dataclass(frozen=True)
class Record:
    """A type with named fields, whatever library made it. `closed`: an unknown field is refused."""

    fields: Mapping[str, RecordField]
    closed: bool


def plain(annotation: Any) -> Any:
    """The annotation without `Annotated`, `Required`, `NewType`, type aliases; `None` becomes its type."""
    while True:
        if annotation is None:
            return type(None)
        if get_origin(annotation) in _WRAPPERS:
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif (
            type(annotation).__name__ == "TypeAliasType"
        ):  # two classes: typing's and its backport's
            annotation = annotation.__value__
        else:
            return annotation


_WRAPPERS = (
    Annotated,
    typing_extensions.Required,
    typing_extensions.NotRequired,
    typing_extensions.ReadOnly,
)


def says_nothing(annotation: Any) -> bool:
    """True for what lets anything pass: no annotation, `Any`, a type variable."""
    return annotation is Any or isinstance(annotation, typing.TypeVar)


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, flattened, `None` taken out of a literal; a single-member tuple for anything else."""
    annotation = plain(annotation)
    if get_origin(annotation) is Literal and None in get_args(annotation):
        values = tuple(value for value in get_args(annotation) if value is not None)
        return (Literal[values], type(None)) if values else (type(None),)
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(
            member for argument in get_args(annotation) for member in alternatives(argument)
        )
    return (annotation,)


def allowed_values(annotation: Any) -> tuple[Any, ...] | None:
    """The values of an enum (as stored) or a literal; None for any other type."""
    if get_origin(annotation) is Literal:
        return tuple(
            value.value if isinstance(value, Enum) else value for value in get_args(annotation)
        )
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return tuple(member.value for member in annotation)
    return None


def record_of(annotation: Any) -> Record | None:
    """The named fields of a pydantic model, dataclass, TypedDict or NamedTuple; None for any other type."""
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
    """Resolved hints, or the written ones where a name of theirs is out of reach (they then compare by spelling)."""
    try:
        return typing_extensions.get_type_hints(cls, include_extras=True)
    except NameError:
        return {
            name: hint
            for base in reversed(cls.__mro__)
            for name, hint in inspect.get_annotations(base).items()
        }


def type_name(annotation: Any) -> str:
    """How a type is printed: `str | None`, `tuple[Band, ...]`, `Literal['a', 'b']`."""
    annotation = plain(annotation)
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
        return f"{getattr(origin, '__name__', origin)}[{', '.join(_argument_name(argument) for argument in get_args(annotation))}]"
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
