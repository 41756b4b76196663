"""Convert messages to JSON and load them, also messages that an older deployment stored.

    {"message": "GreetingSpoken", "schema_version": 1, "content": {"text": "hello"}}

A message of an older version is upgraded by its registered functions, one version at a time. A
message that cannot be upgraded is refused; the error names both versions.

Used throughout the application.
"""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from geo_platform.contracts.fault import ContractError, Fault, FaultKind
from geo_platform.contracts.message import Message, Part

M = TypeVar("M", bound=Message)
Content = dict[str, Any]
Upgrade = Callable[[Content], Content]

# JSON has no NaN and no infinity. They are written as {"$float": "NaN"}, a form that no message
# uses for other values.
_NON_FINITE = "$float"


class _Envelope(Part):
    message: str
    schema_version: int = Field(ge=1)
    content: Content


class UpgradeRegistry:
    """The upgrade functions of each message, from one version to the next."""

    def __init__(self) -> None:
        self._steps: dict[tuple[str, int], Upgrade] = {}

    def upgrades(
        self, message: type[Message], *, from_version: int
    ) -> Callable[[Upgrade], Upgrade]:
        """Register a function that upgrades the content from `from_version` to the next version.

        Raises ValueError: `from_version` is not an older version, or already has an upgrade.
        """
        key = (message.__name__, from_version)
        if not 1 <= from_version < message.schema_version:
            raise ValueError(
                f"{message.__name__} is version {message.schema_version}; "
                f"{from_version} is not an older version"
            )
        if key in self._steps:
            raise ValueError(
                f"{message.__name__} already has an upgrade from version {from_version}"
            )

        def register(step: Upgrade) -> Upgrade:
            self._steps[key] = step
            return step

        return register

    def apply(self, message: type[Message], content: Content, *, from_version: int) -> Content:
        """Upgrade the content to the current version of the message.

        Raises ContractError: an upgrade is missing.
        """
        for version in range(from_version, message.schema_version):
            step = self._steps.get((message.__name__, version))
            if step is None:
                raise _unreadable(
                    message,
                    f"{message.__name__} version {from_version}",
                    f"no upgrade is registered from version {version}",
                )
            content = step(content)
        return content


REGISTRY = UpgradeRegistry()
upgrades = REGISTRY.upgrades


def dump_message(message: Message) -> bytes:
    """Return the message as indented UTF-8 JSON, fields in the order of the class."""
    content = _to_json(message.model_dump(mode="json"))
    envelope = _Envelope(
        message=type(message).__name__, schema_version=message.schema_version, content=content
    )
    return (
        json.dumps(envelope.model_dump(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    ).encode()


def load_message(content: bytes, expected: type[M], *, registry: UpgradeRegistry = REGISTRY) -> M:
    """Load a message, upgraded to the version of `expected`.

    Raises ContractError: the content is not a stored message, is another message, a newer version,
    or an older version without an upgrade; or its fields do not fit.
    """
    envelope = _open(content, expected)
    version, stored = (
        envelope.schema_version,
        f"{envelope.message} version {envelope.schema_version}",
    )
    if envelope.message != expected.__name__:
        raise _unreadable(expected, stored, "it is another message")
    if version > expected.schema_version:
        raise _unreadable(expected, stored, "it was stored by a newer deployment")
    fields = registry.apply(expected, envelope.content, from_version=version)
    try:
        return expected.model_validate_json(json.dumps(fields), strict=True)
    except ValidationError as error:
        raise ContractError(_misfits(error, expected, version)) from error


def _open(content: bytes, expected: type[Message]) -> _Envelope:
    try:
        return _Envelope.model_validate(json.loads(content, object_hook=_from_json))
    except ValueError as error:
        raise _unreadable(
            expected, "bytes", "not JSON with message, schema_version and content"
        ) from error


def _misfits(error: ValidationError, expected: type[Message], version: int) -> list[Fault]:
    """Return a fault, with the message of pydantic, for each field that does not fit."""
    return [
        _fault(
            expected,
            f"{expected.__name__} version {version}",
            part["msg"],
            ".".join(map(str, part["loc"])),
        )
        for part in error.errors(include_url=False, include_input=False)
    ]


def _unreadable(expected: type[Message], stored: str, why: str) -> ContractError:
    return ContractError([_fault(expected, stored, why)])


def _fault(expected: type[Message], stored: str, why: str, field: str = "") -> Fault:
    reader = f"reader of {expected.__name__} version {expected.schema_version}"
    return Fault(FaultKind.unreadable, "", "", f"stored {stored}", reader, field, why)


def _to_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {
            _NON_FINITE: "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        }
    if isinstance(value, Mapping):
        return {key: _to_json(item) for key, item in value.items()}
    return [_to_json(item) for item in value] if isinstance(value, list) else value


def _from_json(record: Content) -> Any:
    return float(record[_NON_FINITE]) if record.keys() == {_NON_FINITE} else record
