"""A stage's message as an object of the store: put where `message_key` says, and said.

What belongs here: what every way of running a stage does with its message. What stays out: its format (`contracts/stored.py`),
and which of several messages is meant (`resources/io_manager.py`).
"""

from geo_platform.contracts.message import Message
from geo_platform.contracts.stored import dump_message
from geo_platform.ports import MESSAGES, ObjectStore, StoredObject, message_key
from geo_platform.telemetry.checkpoints import Checkpoint, report
from geo_platform.telemetry.context import telemetry_context


def put_message(
    objects: ObjectStore, message: Message, *, stage: str, partition: str | None, run_id: str
) -> StoredObject:
    """Store it as `<stage>/<partition>/<run id>.json`. Raises StoreUnavailable, StoreDenied."""
    key = message_key(stage, partition, run_id)
    stored = objects.put_bytes(
        MESSAGES,
        key,
        dump_message(message),
        metadata={"run_id": run_id, "message": type(message).__name__},
    )
    # It is stored after the stage has ended, and so outside of the stage's own context.
    with telemetry_context(run_id=run_id, stage=stage, partition=partition or ""):
        report(
            Checkpoint.MESSAGE_CREATED,
            f"{message_type(message)} of {stage}",
            message_type=type(message).__name__,
            schema_version=message.schema_version,
            uri=stored.reference.uri,
            etag=stored.reference.etag,
        )
    return stored


def message_type(message: Message) -> str:
    """Name and version, for people."""
    return f"{type(message).__name__} v{message.schema_version}"
