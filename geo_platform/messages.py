"""Store the message of a stage, which is its result as JSON, and report the checkpoint.

The format is in `contracts/stored.py`; `resources/io_manager.py` loads messages.

Called by `assets/files.py` and `resources/io_manager.py`.
"""

from geo_platform.contracts.message import Message
from geo_platform.contracts.stored import dump_message
from geo_platform.ports import MESSAGES, ObjectStore, StoredObject, message_key
from geo_platform.telemetry.checkpoints import Checkpoint, report
from geo_platform.telemetry.logs import telemetry_context


def put_message(
    objects: ObjectStore, message: Message, *, stage: str, partition: str | None, run_id: str
) -> StoredObject:
    """Store the message in the container `messages`, and report the checkpoint MESSAGE_CREATED.

    The key is `<stage>/<partition>/<run id>.json`, without the partition if that is None.
    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    key = message_key(stage, partition, run_id)
    stored = objects.put_bytes(
        MESSAGES,
        key,
        dump_message(message),
        metadata={"run_id": run_id, "message": type(message).__name__},
    )
    # The stage has ended and reset its telemetry context, which the checkpoint needs.
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
    """Return the message's name and schema version as text, for example "CogStored v1"."""
    return f"{type(message).__name__} v{message.schema_version}"
