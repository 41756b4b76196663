"""The queue of events on Azure Queue Storage, in the same account as the objects.

What belongs here: the MessageQueue port. What stays out: what messages say (`geo_platform/arrivals/events.py`), which account and
way in (`azure_account.py`).

A message that nobody can use goes into a queue beside this one, with the reason, and stays there for a person to look at.
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

# After the name of a queue: the one of its buried messages.
POISON = "-poison"

MESSAGE_MAX_BYTES = 64 * 1024
_RECEIVED_AT_ONCE = 32
_BURIED_FOR_S = 30 * 86400
_BURYING_S = 60
_REASON_MAX_CHARACTERS = 1000
_NOT_OURS_ANY_MORE = frozenset({"MessageNotFound", "PopReceiptMismatch"})


def queue_service(settings: Settings, *, retries: int = 3) -> QueueServiceClient:
    """A client of the account's queues. Nothing is asked of the service yet. Raises StoreDenied."""
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
    """MessageQueue in one storage account. Safe among threads, processes and machines; its client is closed by whoever made it."""

    def __init__(self, service: QueueServiceClient, name: str) -> None:
        self._queue = service.get_queue_client(name)
        self._poison = service.get_queue_client(name + POISON)

    def receive(self, most: int, *, hidden_s: int) -> list[QueuedMessage]:
        """Those that are there now, at most so many, by as few requests as can be: 32 messages each."""
        received: list[QueuedMessage] = []
        with _queue_errors(self._queue.queue_name):
            while (asked := min(most - len(received), _RECEIVED_AT_ONCE)) > 0:
                pages = self._queue.receive_messages(
                    messages_per_page=asked, visibility_timeout=hidden_s
                ).by_page()
                page = list(next(pages, ()))
                received += [_received(one) for one in page]
                if len(page) < asked:
                    break
        return received

    def hide(self, message: QueuedMessage, hidden_s: int) -> QueuedMessage:
        """It comes back after that long. One that is gone, or was received by another, stays as it is and is handed back as given."""
        with _queue_errors(self._queue.queue_name):
            receipt = self._held_for(message, hidden_s)
        return (
            message
            if receipt is None
            else QueuedMessage(message.id, receipt, message.text, message.received_times)
        )

    def delete(self, message: QueuedMessage) -> None:
        """It does not come back. One that is gone, or was received by another, is no error."""
        with _queue_errors(self._queue.queue_name):
            self._delete(message.id, message.receipt)

    def bury(self, message: QueuedMessage, reason: str) -> None:
        """Into the poison queue, which is made when first needed, and out of this one.

        Killed in between it lies in both, comes back and is buried again. One that is gone, or was received by another, is theirs.
        """
        with _queue_errors(self._queue.queue_name):
            receipt = self._held_for(message, _BURYING_S)
        if receipt is None:
            return
        text = buried_text(message, reason, datetime.now(UTC))
        try:
            self._put(text)
        except SourceNotFound:
            with (
                _queue_errors(self._poison.queue_name),
                suppress(ResourceExistsError),
            ):  # another may make it
                self._poison.create_queue()
            self._put(text)
        with _queue_errors(self._queue.queue_name):
            self._delete(message.id, receipt)

    def _put(self, text: str) -> None:
        with _queue_errors(self._poison.queue_name):
            self._poison.send_message(text, time_to_live=_BURIED_FOR_S)

    def _held_for(self, message: QueuedMessage, hidden_s: int) -> str | None:
        """The new receipt; None where the message is not this receiver's any more."""
        try:
            return self._queue.update_message(
                message.id, message.receipt, visibility_timeout=hidden_s
            ).pop_receipt
        except HttpResponseError as error:
            if error_code(error) in _NOT_OURS_ANY_MORE:
                return None
            raise

    def _delete(self, message_id: str, receipt: str) -> None:
        try:
            self._queue.delete_message(message_id, receipt)
        except HttpResponseError as error:
            if error_code(error) not in _NOT_OURS_ANY_MORE:
                raise


def _received(message: QueueMessage) -> QueuedMessage:
    """An empty message has no content, to Azure's client."""
    return QueuedMessage(
        message.id, message.pop_receipt or "", message.content or "", message.dequeue_count or 0
    )


def buried_text(message: QueuedMessage, reason: str, buried_at_utc: datetime) -> str:
    """A JSON object in ASCII, which every queue takes. A text that does not fit beside the rest is cut at its end, and says so."""

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
    "Make the queue and have the storage account's events sent to it (deploy/azure/storage.json does both), or leave "
    "GEO_PLATFORM_ARRIVALS_QUEUE unset: arrivals are then found by listing alone."
)
_RIGHTS = (
    "Check the connection string, key or SAS token (queues, with read, add, update and process), or give the platform's identity "
    "the role Storage Queue Data Contributor."
)
