"""The message queue on Azure Queue Storage, in the same account as the objects.

A message that cannot be used is moved to the poison queue, with the reason, for a person to look
at. The content of messages is read in `geo_platform/arrivals/events.py`.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.storage.queue import ExponentialRetry, QueueMessage, QueueServiceClient

from geo_platform.errors import SourceNotFound, StoreDenied
from geo_platform.ports import QueuedMessage
from geo_platform.settings import Settings
from geo_platform.storage.azure.account import (
    CONNECT_TIMEOUT_S,
    READ_TIMEOUT_S,
    credential_of,
    queue_account,
)
from geo_platform.storage.azure.errors import azure_errors, error_code

# Suffix of the name of the poison queue, after the name of its queue.
POISON = "-poison"

MESSAGE_MAX_BYTES = 64 * 1024
_RECEIVED_AT_ONCE = 32
_BURIED_FOR_S = 30 * 86400
_BURYING_S = 60
_REASON_MAX_CHARACTERS = 1000
_NO_LONGER_OURS = frozenset({"MessageNotFound", "PopReceiptMismatch"})


def queue_service(settings: Settings, *, retries: int = 3) -> QueueServiceClient:
    """Return a client for the account's queues. It does not connect yet.

    Raises StoreDenied: a setting is missing, or the secret is malformed.
    """
    account = queue_account(settings)
    try:
        return QueueServiceClient(
            account.url,
            credential=credential_of(account),
            retry_policy=ExponentialRetry(
                initial_backoff=0, increment_base=2, retry_total=retries, random_jitter_range=1
            ),
            connection_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
        )
    except ValueError as error:
        raise StoreDenied(
            f"The queues at {account.url} cannot be used with a {account.kind.value}.",
            remedy=_RIGHTS,
        ) from error


class AzureQueue:
    """Implements `ports.MessageQueue` in one storage account.

    Safe among threads, processes and machines. The caller closes `service`.
    """

    def __init__(self, service: QueueServiceClient, name: str) -> None:
        self._queue = service.get_queue_client(name)
        self._poison = service.get_queue_client(name + POISON)

    def receive(self, max_messages: int, *, hidden_s: int) -> list[QueuedMessage]:
        """Receive at most so many available messages, with one request for each 32.

        Raises as `ports.MessageQueue`.
        """
        received: list[QueuedMessage] = []
        with _queue_errors(self._queue.queue_name):
            while (wanted := min(max_messages - len(received), _RECEIVED_AT_ONCE)) > 0:
                pages = self._queue.receive_messages(
                    messages_per_page=wanted, visibility_timeout=hidden_s
                ).by_page()
                page = list(next(pages, ()))
                received += [_queued_message(one) for one in page]
                if len(page) < wanted:
                    break
        return received

    def hide(self, message: QueuedMessage, hidden_s: int) -> QueuedMessage:
        """Hide a message for `hidden_s` from now. Raises as `ports.MessageQueue`.

        A message that is gone, or was received by somebody else, is returned as it is.
        """
        with _queue_errors(self._queue.queue_name):
            receipt = self._extend_hiding(message, hidden_s)
        return (
            message
            if receipt is None
            else QueuedMessage(message.id, receipt, message.text, message.received_times)
        )

    def delete(self, message: QueuedMessage) -> None:
        """Delete a message. Do nothing if it is gone or was received by somebody else.

        Raises as `ports.MessageQueue`.
        """
        with _queue_errors(self._queue.queue_name):
            self._delete(message.id, message.receipt)

    def bury(self, message: QueuedMessage, reason: str) -> None:
        """Move a message to the poison queue, which is created when it is first needed.

        If the process is killed in between, the message is in both queues, and is delivered and
        moved once more. Do nothing if it is gone or was received by somebody else.
        Raises as `ports.MessageQueue`.
        """
        with _queue_errors(self._queue.queue_name):
            receipt = self._extend_hiding(message, _BURYING_S)
        if receipt is None:
            return
        text = buried_text(message, reason, datetime.now(UTC))
        try:
            self._put(text)
        except SourceNotFound:
            # Another process may create it at the same time.
            with _queue_errors(self._poison.queue_name), suppress(ResourceExistsError):
                self._poison.create_queue()
            self._put(text)
        with _queue_errors(self._queue.queue_name):
            self._delete(message.id, receipt)

    def _put(self, text: str) -> None:
        with _queue_errors(self._poison.queue_name):
            self._poison.send_message(text, time_to_live=_BURIED_FOR_S)

    def _extend_hiding(self, message: QueuedMessage, hidden_s: int) -> str | None:
        """Return the new receipt, or None if the message now belongs to somebody else."""
        try:
            return self._queue.update_message(
                message.id, message.receipt, visibility_timeout=hidden_s
            ).pop_receipt
        except HttpResponseError as error:
            if error_code(error) in _NO_LONGER_OURS:
                return None
            raise

    def _delete(self, message_id: str, receipt: str) -> None:
        try:
            self._queue.delete_message(message_id, receipt)
        except HttpResponseError as error:
            if error_code(error) not in _NO_LONGER_OURS:
                raise


def _queued_message(message: QueueMessage) -> QueuedMessage:
    # Azure's client gives None as the content of an empty message.
    return QueuedMessage(
        message.id, message.pop_receipt or "", message.content or "", message.dequeue_count or 0
    )


def buried_text(message: QueuedMessage, reason: str, buried_at_utc: datetime) -> str:
    """Return the text for the poison queue: a JSON object in ASCII.

    A message that is too long is cut at its end; `left_out_characters` is how much is missing.
    """

    def written(characters: int) -> str:
        record = {
            "reason": reason[:_REASON_MAX_CHARACTERS],
            "message": message.text[:characters],
            "message_id": message.id,
            "buried_at_utc": buried_at_utc.isoformat(timespec="seconds"),
            "received_times": message.received_times,
        }
        left_out = len(message.text) - characters
        return json.dumps({**record, "left_out_characters": left_out} if left_out else record)

    whole = written(len(message.text))
    if len(whole) <= MESSAGE_MAX_BYTES:
        return whole
    return written(
        bisect_right(
            range(len(message.text)),
            MESSAGE_MAX_BYTES,
            key=lambda characters: len(written(characters)),
        )
        - 1
    )


@contextmanager
def _queue_errors(name: str) -> Iterator[None]:
    try:
        with azure_errors(f"The queue {name}"):
            yield
    except SourceNotFound as missing:
        raise SourceNotFound(missing.message, remedy=_MISSING, **missing.details) from missing
    except StoreDenied as denied:
        raise StoreDenied(denied.message, remedy=_RIGHTS, **denied.details) from denied


_MISSING = (
    "Create the queue and send the storage account's events to it (deploy/azure/storage.json does "
    "both), or leave GEO_PLATFORM_ARRIVALS_QUEUE unset: arrivals are then found by listing alone."
)
_RIGHTS = (
    "Check the connection string, key or SAS token (queues, with read, add, update and process), "
    "or give the platform's identity the role Storage Queue Data Contributor."
)
