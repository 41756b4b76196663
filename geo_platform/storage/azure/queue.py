"""The message queue on Azure Queue Storage, in the same account as the objects.

The poison queue is a second queue for messages that the platform cannot use: `bury` moves a message
there with the reason, for a person to examine. `geo_platform/arrivals/events.py` reads the content
of messages.

Called by `storage/stores.py`.
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
_RECEIVE_PAGE_SIZE = 32
_POISON_LIFETIME_S = 30 * 86400
_BURY_TIMEOUT_S = 60
_REASON_MAX_CHARACTERS = 1000
_RECEIPT_INVALID_CODES = frozenset({"MessageNotFound", "PopReceiptMismatch"})


def queue_service(settings: Settings, *, retries: int = 3) -> QueueServiceClient:
    """Return a client for the queues of the storage account. The client does not connect yet.

    Raises StoreDenied: a setting of the account is missing or malformed, or the secret is.
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
            remedy=_DENIED_REMEDY,
        ) from error


class AzureQueue:
    """Implements `ports.MessageQueue` in one storage account.

    Threads, processes and machines may use it at the same time. The caller closes `service`.
    Every method raises SourceNotFound: there is no queue of this name. StoreDenied: the credential
    is refused or lacks a right. StoreUnavailable: the service does not answer or is busy.
    """

    def __init__(self, service: QueueServiceClient, name: str) -> None:
        self._queue = service.get_queue_client(name)
        self._poison = service.get_queue_client(name + POISON)

    def receive(self, max_messages: int, *, hidden_s: int) -> list[QueuedMessage]:
        """Return at most `max_messages` messages, and hide them for `hidden_s` seconds.

        One request receives at most 32 messages.
        """
        received: list[QueuedMessage] = []
        with _queue_errors(self._queue.queue_name):
            while (page_size := min(max_messages - len(received), _RECEIVE_PAGE_SIZE)) > 0:
                pages = self._queue.receive_messages(
                    messages_per_page=page_size, visibility_timeout=hidden_s
                ).by_page()
                page = list(next(pages, ()))
                received += [_queued_message(message) for message in page]
                if len(page) < page_size:
                    break
        return received

    def hide(self, message: QueuedMessage, hidden_s: int) -> QueuedMessage:
        """Hide a message for `hidden_s` seconds from now, and return it with its new receipt.

        Return the message unchanged if it was deleted, or if another client received it.
        """
        with _queue_errors(self._queue.queue_name):
            receipt = self._extend_hiding(message, hidden_s)
        return (
            message
            if receipt is None
            else QueuedMessage(message.id, receipt, message.text, message.received_times)
        )

    def delete(self, message: QueuedMessage) -> None:
        """Delete a message. Do nothing if it was deleted, or if another client received it."""
        with _queue_errors(self._queue.queue_name):
            self._delete(message.id, message.receipt)

    def bury(self, message: QueuedMessage, reason: str) -> None:
        """Move a message to the poison queue, and create that queue if it is missing.

        Do nothing if the message was deleted, or if another client received it. If the process is
        killed during the move, the message may be in both queues; it is then delivered once more.
        """
        with _queue_errors(self._queue.queue_name):
            receipt = self._extend_hiding(message, _BURY_TIMEOUT_S)
        if receipt is None:
            return
        text = buried_text(message, reason, datetime.now(UTC))
        try:
            self._put(text)
        except SourceNotFound:
            # Another process may create the poison queue at the same time.
            with _queue_errors(self._poison.queue_name), suppress(ResourceExistsError):
                self._poison.create_queue()
            self._put(text)
        with _queue_errors(self._queue.queue_name):
            self._delete(message.id, receipt)

    def _put(self, text: str) -> None:
        with _queue_errors(self._poison.queue_name):
            self._poison.send_message(text, time_to_live=_POISON_LIFETIME_S)

    def _extend_hiding(self, message: QueuedMessage, hidden_s: int) -> str | None:
        """Return the new receipt, or None if the message was deleted or received again."""
        try:
            return self._queue.update_message(
                message.id, message.receipt, visibility_timeout=hidden_s
            ).pop_receipt
        except HttpResponseError as error:
            if error_code(error) in _RECEIPT_INVALID_CODES:
                return None
            raise

    def _delete(self, message_id: str, receipt: str) -> None:
        try:
            self._queue.delete_message(message_id, receipt)
        except HttpResponseError as error:
            if error_code(error) not in _RECEIPT_INVALID_CODES:
                raise


def _queued_message(message: QueueMessage) -> QueuedMessage:
    # Azure's client gives None as the content of an empty message.
    return QueuedMessage(
        message.id, message.pop_receipt or "", message.content or "", message.dequeue_count or 0
    )


def buried_text(message: QueuedMessage, reason: str, buried_at_utc: datetime) -> str:
    """Return the text for the poison queue: a JSON object in ASCII of at most 64 KiB.

    The text of a long message is cut at its end, and `left_out_characters` is the number of missing
    characters.
    """

    def record_text(characters: int) -> str:
        record = {
            "reason": reason[:_REASON_MAX_CHARACTERS],
            "message": message.text[:characters],
            "message_id": message.id,
            "buried_at_utc": buried_at_utc.isoformat(timespec="seconds"),
            "received_times": message.received_times,
        }
        left_out = len(message.text) - characters
        return json.dumps({**record, "left_out_characters": left_out} if left_out else record)

    full_text = record_text(len(message.text))
    if len(full_text) <= MESSAGE_MAX_BYTES:
        return full_text
    return record_text(
        bisect_right(
            range(len(message.text)),
            MESSAGE_MAX_BYTES,
            key=lambda characters: len(record_text(characters)),
        )
        - 1
    )


@contextmanager
def _queue_errors(name: str) -> Iterator[None]:
    try:
        with azure_errors(f"The queue {name}"):
            yield
    except SourceNotFound as missing:
        raise SourceNotFound(
            missing.message, remedy=_MISSING_REMEDY, **missing.details
        ) from missing
    except StoreDenied as denied:
        raise StoreDenied(denied.message, remedy=_DENIED_REMEDY, **denied.details) from denied


_MISSING_REMEDY = (
    "Create the queue and send the storage account's events to it (deploy/azure/storage.json does "
    "both), or leave GEO_PLATFORM_ARRIVALS_QUEUE unset: arrivals are then found by listing alone."
)
_DENIED_REMEDY = (
    "Check the connection string, key or SAS token (queues, with read, add, update and process), "
    "or give the platform's identity the role Storage Queue Data Contributor."
)
