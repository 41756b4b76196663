"""Message queues for tests: Event Grid's messages, a real queue, and a simulated one.

They replace Event Grid, which no emulator has. Servers are in `servers.py`.
"""

import json
import secrets
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobClient
from azure.storage.queue import QueueClient, QueueServiceClient

from geo_platform.ports import QueuedMessage
from geo_platform.storage.azure.queue import POISON

Shape = Literal["eventgrid", "cloudevents"]
TOPIC = (
    "/subscriptions/5b4b650e-28b9-4790-b3ab-ddbd88d727c4/resourceGroups/geo/providers/"
    "Microsoft.Storage/storageAccounts/"
)


@dataclass(frozen=True)
class Created:
    """Return the data of an event on an object.

    `container` includes the deployment's prefix. `url` is percent-encoded unless it is given.
    """

    container: str
    key: str
    account_url: str = "https://geoaccount.blob.core.windows.net"
    etag: str = '"0x8D4BCC2E4835CD0"'
    size_bytes: int = 524288
    api: str = "PutBlockList"
    type: str = "Microsoft.Storage.BlobCreated"
    time: str = "2026-06-26T18:41:00.9584103Z"
    id: str = "831e1650-001e-001b-66ab-eeb76e069631"
    url: str | None = None

    @property
    def subject(self) -> str:
        return f"/blobServices/default/containers/{self.container}/blobs/{self.key}"

    def data(self) -> dict[str, Any]:
        return {
            "api": self.api,
            "clientRequestId": "6d79dbfb-0e37-4fc4-981f-442c9ca65760",
            "requestId": "831e1650-001e-001b-66ab-eeb76e000000",
            "eTag": self.etag,
            "contentType": "application/octet-stream",
            "contentLength": self.size_bytes,
            "blobType": "BlockBlob",
            "url": self.url
            if self.url is not None
            else f"{self.account_url}/{self.container}/{quote(self.key, safe='/~')}",
            "sequencer": "00000000000004420000000000028963",
            "storageDiagnostics": {"batchId": "b68529f3-68cd-4744-baa4-3c0498ec19f0"},
        }

    def event(self, shape: Shape) -> dict[str, Any]:
        """Return an event as documented in "Azure Blob Storage as an Event Grid source"."""
        account = self.account_url.rsplit("/", 1)[-1].partition(".")[0]
        common = {"subject": self.subject, "id": self.id, "data": self.data()}
        if shape == "cloudevents":
            return {
                **common,
                "source": TOPIC + account,
                "type": self.type,
                "time": self.time,
                "specversion": "1.0",
            }
        names = {"topic": TOPIC + account, "eventType": self.type, "eventTime": self.time}
        return {**common, **names, "dataVersion": "", "metadataVersion": "1"}


def message_text(events: Any, *, encode: bool = True) -> str:
    """Encode an event as Event Grid puts it into a queue: Base64 of the JSON."""
    text = json.dumps(events)
    return b64encode(text.encode()).decode() if encode else text


def announce(
    queue: QueueClient,
    blob: BlobClient,
    shape: Shape = "eventgrid",
    *,
    encode: bool = True,
    api: str = "PutBlockList",
) -> None:
    """Send an event on a blob as it is now, as Event Grid would."""
    found = blob.get_blob_properties()
    account_url = blob.url.partition(f"/{blob.container_name}/")[0]
    created = Created(
        container=blob.container_name,
        key=blob.blob_name,
        account_url=account_url,
        etag=found.etag,
        size_bytes=found.size,
        api=api,
        time=f"{found.last_modified:%Y-%m-%dT%H:%M:%S}.0000000Z",
        id=secrets.token_hex(16),
    )
    queue.send_message(message_text(created.event(shape), encode=encode))


@contextmanager
def own_queue(connection_string: str, prefix: str = "") -> Iterator[QueueClient]:
    """An empty queue for one test; it and its poison queue are removed at the end."""
    with QueueServiceClient.from_connection_string(connection_string) as service:
        queue = service.create_queue(f"{prefix or f't{secrets.token_hex(4)}-'}arrivals")
        try:
            yield queue
        finally:
            for name in (queue.queue_name, queue.queue_name + POISON):
                try:
                    service.delete_queue(name)
                except ResourceNotFoundError:
                    continue


def buried(connection_string: str, queue_name: str) -> list[dict[str, Any]]:
    """Return the messages in the poison queue, without removing them."""
    with QueueClient.from_connection_string(connection_string, queue_name + POISON) as poison:
        try:
            return [
                json.loads(message.content) for message in poison.peek_messages(max_messages=32)
            ]
        except ResourceNotFoundError:
            return []


@dataclass
class _Kept:
    text: str
    visible_at_s: float = 0.0
    receipt: str = ""
    received_times: int = 0


@dataclass
class MemoryQueue:
    """A MessageQueue whose clock is `now_s`. `buried` are (text, reason)."""

    now_s: float = 0.0
    kept: dict[str, _Kept] = field(default_factory=dict)
    buried: list[tuple[str, str]] = field(default_factory=list)

    def send(self, event: Mapping[str, Any] | str) -> str:
        """Put a text, or an event as Event Grid would, and return the message's id."""
        message_id = secrets.token_hex(8)
        self.kept[message_id] = _Kept(event if isinstance(event, str) else message_text(event))
        return message_id

    def receive(self, max_messages: int, *, hidden_s: int) -> list[QueuedMessage]:
        there = [
            message_id for message_id, kept in self.kept.items() if kept.visible_at_s <= self.now_s
        ][:max_messages]
        for message_id in there:
            self.kept[message_id].received_times += 1
        return [self._hidden(message_id, hidden_s) for message_id in there]

    def hide(self, message: QueuedMessage, hidden_s: int) -> QueuedMessage:
        return self._hidden(message.id, hidden_s) if self._is_held(message) else message

    def delete(self, message: QueuedMessage) -> None:
        if self._is_held(message):
            del self.kept[message.id]

    def bury(self, message: QueuedMessage, reason: str) -> None:
        if self._is_held(message):
            self.buried.append((message.text, reason))
            del self.kept[message.id]

    def _hidden(self, message_id: str, hidden_s: int) -> QueuedMessage:
        kept = self.kept[message_id]
        kept.visible_at_s, kept.receipt = self.now_s + hidden_s, secrets.token_hex(4)
        return QueuedMessage(message_id, kept.receipt, kept.text, kept.received_times)

    def _is_held(self, message: QueuedMessage) -> bool:
        return message.id in self.kept and self.kept[message.id].receipt == message.receipt
