"""The IO manager, which stores the messages between stages as JSON objects.

`contracts/stored.py` has the format.
"""

import logging

import dagster as dg

from geo_platform.contracts.fault import ContractError
from geo_platform.contracts.message import Message
from geo_platform.contracts.stored import load_message
from geo_platform.dagster_internals import as_failure, record_checkpoints_as_events
from geo_platform.errors import MessageUnreadable, PlatformError, SourceNotFound
from geo_platform.messages import message_type, put_message
from geo_platform.ports import MESSAGES, ObjectStore, message_key
from geo_platform.telemetry.checkpoints import Checkpoint, report


class MessageIOManager(dg.IOManager):
    """Store messages as `<stage>/<partition>/<run id>.json` in the container of messages."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        record_checkpoints_as_events()

    def handle_output(self, context: dg.OutputContext, obj: Message) -> None:
        try:
            stored = put_message(
                self._objects,
                obj,
                stage=_stage(context),
                partition=_partition(context),
                run_id=context.run_id,
            )
        except PlatformError as error:
            raise _failed(error) from error
        context.add_output_metadata(
            {
                "message": dg.MetadataValue.url(stored.reference.uri),
                "message_type": message_type(obj),
            }
        )

    def load_input(self, context: dg.InputContext) -> Message:
        expected: type[Message] = context.dagster_type.typing_type
        upstream = context.upstream_output
        if upstream is None:
            raise dg.DagsterInvariantViolationError(f"input {context.name} has no upstream stage")
        own = message_key(_stage(context), _partition(context), upstream.run_id)
        try:
            return load_message(self._objects.read_bytes(MESSAGES, self._newest_key(own)), expected)
        except ContractError as fault:
            unreadable = MessageUnreadable(
                f"The message of {_stage(context)} cannot be read: {fault}"
            )
            raise _failed(unreadable) from fault
        except PlatformError as error:
            raise _failed(error) from error

    def _newest_key(self, own: str) -> str:
        """Return the key of this run's message, or else of the partition's newest message.

        A run has no message of its own if it executes a later stage alone.
        """
        folder = own.rpartition("/")[0] + "/"
        found = {
            stored.reference.key: stored.last_modified_utc
            for stored in self._objects.list(MESSAGES, folder)
        }
        if own in found:
            return own
        # Partitions may contain slashes: `a` must not get the messages of `a/b`.
        direct = {
            key: written for key, written in found.items() if "/" not in key.removeprefix(folder)
        }
        if not direct:
            raise SourceNotFound(
                f"No message is stored in {folder!r}.",
                remedy="Materialize the stage before this one first.",
            )
        return max(direct, key=lambda key: direct[key])


def _failed(error: PlatformError) -> dg.Failure:
    """Report that the step failed outside of the stage's code, and return the failure to raise."""
    report(Checkpoint.STAGE_FAILED, str(error), level=logging.WARNING, error=error.as_record())
    return as_failure(error)


def _stage(context: dg.OutputContext | dg.InputContext) -> str:
    return "/".join(context.asset_key.path)


def _partition(context: dg.OutputContext | dg.InputContext) -> str | None:
    return context.partition_key if context.has_partition_key else None


class Messages(dg.ConfigurableIOManagerFactory[MessageIOManager]):
    """The IO manager of every stage."""

    objects: dg.ResourceDependency[ObjectStore]

    def create_io_manager(self, context: dg.InitResourceContext) -> MessageIOManager:
        return MessageIOManager(self.objects)
