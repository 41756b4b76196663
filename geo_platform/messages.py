"""Store the message of a stage and report it.

The format is in `contracts/stored.py`; `resources/io_manager.py` loads messages.
"""

from geo_platform.contracts.message import Message
from geo_platform.contracts.stored import dump_message
from geo_platform.ports import MESSAGES, ObjectStore, StoredObject, message_key
from geo_platform.telemetry.checkpoints import Checkpoint, report
from geo_platform.telemetry.logs import telemetry_context


def put_message(
    objects: ObjectStore, message: Message, *, stage: str, partition: str | None, run_id: str
) -> StoredObject:
    """Store the message as `<stage>/<partition>/<run id>.json`, and report MESSAGE_CREATED.

    Raises StoreUnavailable, StoreDenied: the store cannot be written.
    """
    key = message_key(stage, partition, run_id)
    stored = objects.put_bytes(
        MESSAGES,
        key,
        dump_message(message),
        metadata={"run_id": run_id, "message": type(message).__name__},
    )
    # The stage has ended, so its telemetry context has to be set again.
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
    """Return name and version as text, for example "CogStored v1"."""
    return f"{type(message).__name__} v{message.schema_version}"
