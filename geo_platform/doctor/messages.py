"""Find stored messages that this deployment cannot read.

`resources/io_manager.py` reads the messages of a run.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from geo_platform.chains.registry import message_types
from geo_platform.contracts.fault import ContractError
from geo_platform.contracts.message import Message
from geo_platform.contracts.stored import load_message
from geo_platform.doctor.findings import DoctorFinding, FindingCode
from geo_platform.errors import SourceNotFound
from geo_platform.ports import MESSAGES, ObjectStore

_AT_ONCE = 8
_BATCH = 64


def known_messages() -> Mapping[str, type[Message]]:
    """Return every message class by name."""
    return {message.__name__: message for message in message_types()}


def fault_of(content: bytes, known: Mapping[str, type[Message]]) -> str | None:
    """Return why these bytes cannot be read as a message, or None if they can."""
    try:
        envelope = json.loads(content)
        name, version = envelope["message"], envelope["schema_version"]
    except (ValueError, KeyError, TypeError):
        return "it is not JSON with message and schema_version"
    kind = known.get(name) if isinstance(name, str) else None
    if kind is None:
        return f"{name!r} version {version} is not a message that this deployment knows"
    try:
        load_message(content, kind)
    except ContractError as error:
        return (
            "; ".join(fault.note or str(fault) for fault in error.faults)
            + f" ({name} version {version}; this deployment reads version {kind.schema_version})"
        )
    return None


def unreadable_messages(objects: ObjectStore, seen: Callable[[], None]) -> Iterator[DoctorFinding]:
    """Read all messages and yield MESSAGE_UNREADABLE for each that cannot be read.

    `seen` is called once for each message.
    """
    known = known_messages()

    def look(key: str) -> tuple[str, str | None]:
        try:
            return key, fault_of(objects.read_bytes(MESSAGES, key), known)
        except SourceNotFound:  # removed since it was listed
            return key, None

    keys = (stored.reference.key for stored in objects.list(MESSAGES))
    with ThreadPoolExecutor(_AT_ONCE) as readers:
        while batch := list(islice(keys, _BATCH)):
            for key, fault in readers.map(look, batch):
                seen()
                if fault is not None:
                    yield _finding(key, fault)


def _finding(key: str, fault: str) -> DoctorFinding:
    return DoctorFinding(
        FindingCode.MESSAGE_UNREADABLE,
        f"message {key}",
        f"The message {key} cannot be read: {fault}.",
        "Needs a person: launch the job again from its first stage, or deploy a version that can "
        "read it.",
    )
