"""Messages as they are stored: JSON that a person can read, named and versioned, readable after a deployment.

    {"message": "GreetingSpoken", "schema_version": 1, "content": {"text": "hello"}}

A message of an older version goes through its registered upgrades, one version at a time, or is refused by a line that
names both versions. What belongs here: bytes to message and back. What stays out: where the bytes lie (the object store).
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

# JSON has no NaN and no infinity: they are written as {"$float": "NaN"}, which no message could
# mean by itself.
_NON_FINITE = "$float"


class _Envelope(Part):
    message: str
    schema_version: int = Field(ge=1)
    content: Content


class UpgradeRegistry:
    """The steps from each older version of a message to the next one."""

    def __init__(self) -> None:
        self._steps: dict[tuple[str, int], Upgrade] = {}

    def upgrades(
        self, message: type[Message], *, from_version: int
    ) -> Callable[[Upgrade], Upgrade]:
        """Registers a function from the content at `from_version` to the content at the next version.

        Raises ValueError where the version is not an older one, or has its step already.
        """
        key = (message.__name__, from_version)
        if not 1 <= from_version < message.schema_version:
            raise ValueError(
                f"{message.__name__} is version {message.schema_version}: {from_version} is no older version of it"
            )
        if key in self._steps:
            raise ValueError(
                f"{message.__name__} has an upgrade from version {from_version} already"
            )

        def register(step: Upgrade) -> Upgrade:
            self._steps[key] = step
            return step

        return register

    def apply(self, message: type[Message], content: Content, *, from_version: int) -> Content:
        """The content at the message's present version. Raises ContractError where a step is missing."""
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
    """UTF-8 JSON, indented, fields in the order of the class."""
    content = _to_json(message.model_dump(mode="json"))
    envelope = _Envelope(
        message=type(message).__name__, schema_version=message.schema_version, content=content
    )
    return (
        json.dumps(envelope.model_dump(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    ).encode()


def load_message(content: bytes, expected: type[M], *, registry: UpgradeRegistry = REGISTRY) -> M:
    """The message, upgraded to the version of `expected`.

    Raises ContractError where it is another message, a newer version, an older one without an upgrade, or does not fit.
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
            expected, "bytes", "they are not JSON with message, schema_version and content"
        ) from error


def _misfits(error: ValidationError, expected: type[Message], version: int) -> list[Fault]:
    """What does not fit, a fault for each field; pydantic's own sentence says why."""
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
