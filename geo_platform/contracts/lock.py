"""`contracts.lock.json`: the shape of every message, as released under its `schema_version`.

The shape of a message maps the path of each field to its type, as sorted text. It contains names,
types, constraints, and whether a field may be left out, but not descriptions and the order. If the
shape changes and `schema_version` does not, stored messages become unreadable. Therefore this is a
fault. `stored.py` reads messages of older versions.

Called by `chains/registry.py`, `cli/commands/contracts.py` and `verify.py`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from geo_platform.contracts import arrival, publication, raster, submission, vector
from geo_platform.contracts.annotation import (
    allowed_values,
    alternatives,
    record_of,
    type_name,
    unwrapped,
)
from geo_platform.contracts.fault import ContractError, Fault, FaultKind
from geo_platform.contracts.message import Message

_CONSTRAINTS = ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern")
# The modules that define messages. Importing them here makes the subclasses of Message complete.
_MESSAGE_MODULES = (arrival, publication, raster, submission, vector)


@dataclass(frozen=True)
class LockedShape:
    """One entry of the lock: the version and the shape of one message."""

    schema_version: int
    shape: Mapping[str, str]


Lock = Mapping[str, LockedShape]


def project_messages() -> list[type[Message]]:
    """Return every message class of the platform, sorted by name."""

    def walk(branch: type[Message]) -> Iterable[type[Message]]:
        for child in branch.__subclasses__():
            yield child
            yield from walk(child)

    messages = {
        message for message in walk(Message) if message.__module__.startswith("geo_platform.")
    }
    return sorted(messages, key=lambda message: message.__name__)


def compute_lock(messages: Iterable[type[Message]] | None = None) -> dict[str, LockedShape]:
    """Return the lock for these messages. `messages` None means all messages of the platform."""
    classes = project_messages() if messages is None else list(messages)
    return {
        message.__name__: LockedShape(message.schema_version, shape_of(message))
        for message in classes
    }


def read_lock(path: Path) -> dict[str, LockedShape]:
    """Return the content of the lock file, empty if the file does not exist.

    Raises ContractError: the file is not a valid lock.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_bytes())
        return {
            name: LockedShape(entry["schema_version"], entry["shape"])
            for name, entry in content.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        note = f"{path.name} is not a valid contracts lock; restore it from version control"
        raise ContractError(
            [Fault(FaultKind.lock, "", "", path.name, "messages", note=note)]
        ) from error


def check_lock(path: Path, messages: Iterable[type[Message]] | None = None) -> list[Fault]:
    """Return a fault for each difference between the messages and the lock file.

    `messages` None means all messages of the platform; only then is a message that is missing in
    the code a fault.
    Raises ContractError: the file is not a valid lock.
    """
    return _changes(read_lock(path), compute_lock(messages), path.name, complete=messages is None)


def write_lock(path: Path, messages: Iterable[type[Message]] | None = None) -> list[str]:
    """Write the lock, and return the names of the messages that are new, changed or removed.

    Raises ContractError: a shape changed and its version did not, a version decreased, or the file
    is not a valid lock. Nothing is written then.
    """
    locked, current = read_lock(path), compute_lock(messages)
    refused = [
        fault
        for name in locked.keys() & current.keys()
        for fault in _refusals(name, locked[name], current[name], path.name)
    ]
    if refused:
        raise ContractError(sorted(refused, key=str))
    text = (
        json.dumps(
            {name: asdict(current[name]) for name in sorted(current)}, indent=2, ensure_ascii=False
        )
        + "\n"
    )
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    return sorted(
        name for name in locked.keys() | current.keys() if locked.get(name) != current.get(name)
    )


def _changes(locked: Lock, current: Lock, lock_name: str, *, complete: bool) -> list[Fault]:
    found: list[Fault] = []
    for name, current_shape in current.items():
        locked_shape = locked.get(name)
        if locked_shape is None:
            found.append(_stale(name, lock_name, "is not in the lock"))
        elif current_shape.schema_version > locked_shape.schema_version:
            found.append(
                _stale(
                    name,
                    lock_name,
                    f"is version {current_shape.schema_version}, the lock holds "
                    f"{locked_shape.schema_version}",
                )
            )
        else:
            found.extend(_refusals(name, locked_shape, current_shape, lock_name))
    gone = locked.keys() - current.keys() if complete else ()
    return found + [
        _stale(name, lock_name, "is in the lock but is not a message any more")
        for name in sorted(gone)
    ]


def _stale(name: str, lock_name: str, problem: str) -> Fault:
    return Fault(
        FaultKind.lock,
        "",
        "",
        lock_name,
        name,
        note=f"{name} {problem}; run `geo-platform contracts lock`",
    )


def _refusals(
    name: str, locked_shape: LockedShape, current_shape: LockedShape, lock_name: str
) -> list[Fault]:
    if current_shape.schema_version > locked_shape.schema_version:
        return []
    if current_shape.schema_version < locked_shape.schema_version:
        note = (
            f"schema_version decreased from {locked_shape.schema_version} "
            f"to {current_shape.schema_version}"
        )
        return [Fault(FaultKind.lock, "", "", lock_name, name, note=note)]
    note = (
        f"shape changed, schema_version is still {current_shape.schema_version}; "
        "raise it and register an upgrade"
    )
    return [
        Fault(
            FaultKind.lock,
            _type(locked_shape, path),
            _type(current_shape, path),
            lock_name,
            name,
            path,
            note,
        )
        for path in sorted(locked_shape.shape.keys() | current_shape.shape.keys())
        if locked_shape.shape.get(path) != current_shape.shape.get(path)
    ]


def _type(entry: LockedShape, path: str) -> Any:
    return entry.shape.get(path, "nothing")


def shape_of(message: type[BaseModel]) -> dict[str, str]:
    """Return the shape of a message, for example `{"bands[].nodata": "float | None"}`.

    The fields of a record inside the message are part of the shape, because a change of the record
    changes the stored message.
    """
    return dict(sorted(_fields(message, "", ())))


def _fields(record: Any, prefix: str, ancestors: tuple[Any, ...]) -> Iterator[tuple[str, str]]:
    fields = record_of(record)
    details: Mapping[str, FieldInfo] = record.model_fields if issubclass(record, BaseModel) else {}
    for name, field in fields.fields.items() if fields else ():
        remarks = [
            *_constraints(details.get(name)),
            *([] if field.required else ["may be left out"]),
        ]
        path = f"{prefix}{name}"
        yield path, "; ".join([type_name(field.annotation), *remarks])
        yield from _parts(field.annotation, path, (*ancestors, record))


def _parts(annotation: Any, path: str, ancestors: tuple[Any, ...]) -> Iterator[tuple[str, str]]:
    """Yield the values of an enum, the fields of a record, or the items of a container."""
    for member in alternatives(annotation):
        if isinstance(member, type) and (values := allowed_values(member)) is not None:
            yield f"{path} <{member.__name__}>", " | ".join(sorted(map(str, values)))
        elif record_of(member) is not None:
            # The fields of a record that contains itself are included once.
            if member not in ancestors:
                yield from _fields(member, f"{path}.", ancestors)
        elif get_origin(member) is not None:
            items = [
                argument
                for argument in get_args(member)
                if argument is not ... and _is_compound(argument)
            ]
            for item in dict.fromkeys(items):
                yield from _parts(item, f"{path}[]", ancestors)


def _is_compound(annotation: Any) -> bool:
    annotation = unwrapped(annotation)
    return (
        get_origin(annotation) is not None
        or record_of(annotation) is not None
        or allowed_values(annotation) is not None
    )


def _constraints(field: FieldInfo | None) -> list[str]:
    if field is None:
        return []
    return [
        f"{name}={value}"
        for part in field.metadata
        for name in _CONSTRAINTS
        if (value := getattr(part, name, None)) is not None
    ]
