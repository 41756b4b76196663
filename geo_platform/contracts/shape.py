"""The shape of a message as flat, sorted text: dotted path -> type. What the lock holds and a review reads.

Names, types, required or not, and constraints are the shape; descriptions and order are not. What stays out: files and
versions (`lock.py`).
"""

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from geo_platform.contracts.annotation import allowed_values, alternatives, plain, record_of, type_name

_CONSTRAINTS = ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern")


def shape_of(message: type[BaseModel]) -> dict[str, str]:
    """For example `{"bands[].nodata": "float | None", "bands[]": "RasterBand", "kind": "SourceKind = raster | vector"}`.

    The records inside are written out in place, since a change in one of them changes what is stored.
    """
    return dict(sorted(_fields(message, "", ())))


def _fields(record: Any, prefix: str, above: tuple[Any, ...]) -> Iterator[tuple[str, str]]:
    fields = record_of(record)
    details: Mapping[str, FieldInfo] = record.model_fields if issubclass(record, BaseModel) else {}
    for name, field in fields.fields.items() if fields else ():
        remarks = [*_constraints(details.get(name)), *([] if field.required else ["may be left out"])]
        path = f"{prefix}{name}"
        yield path, "; ".join([type_name(field.annotation), *remarks])
        yield from _parts(field.annotation, path, (*above, record))


def _parts(annotation: Any, path: str, above: tuple[Any, ...]) -> Iterator[tuple[str, str]]:
    """What lies under a field: the values of an enum, the fields of a record, the items of a container."""
    for member in alternatives(annotation):
        if isinstance(member, type) and (values := allowed_values(member)) is not None:
            yield f"{path} <{member.__name__}>", " | ".join(sorted(map(str, values)))
        elif record_of(member) is not None:
            if member not in above:  # a record inside itself is written out once
                yield from _fields(member, f"{path}.", above)
        elif get_origin(member) is not None:
            items = [argument for argument in get_args(member) if argument is not ... and _is_compound(argument)]
            for item in dict.fromkeys(items):
                yield from _parts(item, f"{path}[]", above)


def _is_compound(annotation: Any) -> bool:
    annotation = plain(annotation)
    return get_origin(annotation) is not None or record_of(annotation) is not None or allowed_values(annotation) is not None


def _constraints(field: FieldInfo | None) -> list[str]:
    if field is None:
        return []
    return [f"{name}={value}" for part in field.metadata for name in _CONSTRAINTS if (value := getattr(part, name, None)) is not None]
