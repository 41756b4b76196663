"""The IO manager, which stores the messages between stages as JSON objects.

`contracts/stored.py` has the format.

Called by `stores.py`.
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
        """Store the message of a stage, and add its address to the output's metadata.

        Raises dagster.Failure: the store does not answer or refuses access.
        """
        try:
            stored = put_message(
                self._objects,
                obj,
                stage=_stage(context),
                partition=_partition(context),
                run_id=context.run_id,
            )
        except PlatformError as error:
            raise _reported_failure(error) from error
        context.add_output_metadata(
            {
                "message": dg.MetadataValue.url(stored.reference.uri),
                "message_type": message_type(obj),
            }
        )

    def load_input(self, context: dg.InputContext) -> Message:
        """Return the message of the previous stage, checked against the type of the input.

        Raises dagster.Failure: there is no message, it is unreadable, or the store does not answer
        or refuses access.
        """
        expected: type[Message] = context.dagster_type.typing_type
        upstream = context.upstream_output
        if upstream is None:
            raise dg.DagsterInvariantViolationError(f"input {context.name} has no upstream stage")
        expected_key = message_key(_stage(context), _partition(context), upstream.run_id)
        try:
            return load_message(
                self._objects.read_bytes(MESSAGES, self._newest_key(expected_key)), expected
            )
        except ContractError as fault:
            unreadable = MessageUnreadable(
                f"The message of {_stage(context)} cannot be read: {fault}"
            )
            raise _reported_failure(unreadable) from fault
        except PlatformError as error:
            raise _reported_failure(error) from error

    def _newest_key(self, expected_key: str) -> str:
        """Return `expected_key`, the key of this run's message, if that message is stored.

        Otherwise return the key of the partition's newest message: a run that executes a later
        stage alone reads the message of an earlier run.

        Raises SourceNotFound: the partition has no message.
        """
        folder = expected_key.rpartition("/")[0] + "/"
        written_by_key = {
            stored.reference.key: stored.last_modified_utc
            for stored in self._objects.list(MESSAGES, folder)
        }
        if expected_key in written_by_key:
            return expected_key
        # Partitions may contain slashes: `a` must not get the messages of `a/b`.
        partition_messages = {
            key: written
            for key, written in written_by_key.items()
            if "/" not in key.removeprefix(folder)
        }
        if not partition_messages:
            raise SourceNotFound(
                f"No message is stored in {folder!r}.",
                remedy="Materialize the stage before this one first.",
            )
        return max(partition_messages, key=lambda key: partition_messages[key])


def _reported_failure(error: PlatformError) -> dg.Failure:
    """Report STAGE_FAILED for an error outside of the stage's code, and return it as a failure."""
    report(Checkpoint.STAGE_FAILED, str(error), level=logging.WARNING, error=error.as_record())
    return as_failure(error)


def _stage(context: dg.OutputContext | dg.InputContext) -> str:
    return "/".join(context.asset_key.path)


def _partition(context: dg.OutputContext | dg.InputContext) -> str | None:
    return context.partition_key if context.has_partition_key else None


class Messages(dg.ConfigurableIOManagerFactory[MessageIOManager]):
    """Creates the IO manager of every stage for one run."""

    objects: dg.ResourceDependency[ObjectStore]

    def create_io_manager(self, context: dg.InitResourceContext) -> MessageIOManager:
        return MessageIOManager(self.objects)
