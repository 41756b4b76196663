"""The message queue on Azurite, and the simulated one in memory, behave the same."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from azure.storage.queue import QueueClient

from deploy.local.services import Services
from geo_platform.arrivals.events import parse_message
from geo_platform.errors import SourceNotFound, StoreDenied, StoreUnavailable
from geo_platform.ports import MessageQueue, QueuedMessage
from geo_platform.settings import Settings
from geo_platform.storage.azure.queue import MESSAGE_MAX_BYTES, AzureQueue, queue_service
from geo_platform.storage.stores import account_url, open_queue
from tests.support.objects import blob_client
from tests.support.queues import (
    Created,
    MemoryQueue,
    Shape,
    announce,
    buried,
    message_text,
    own_queue,
)
from tests.support.servers import Blobs, OwnAzurite


@dataclass
class QueueUnderTest:
    """A queue, a second receiver of it, and functions to send a message and to let time pass."""

    queue: MessageQueue
    other: MessageQueue
    send: Callable[[str], object]
    wait: Callable[[float], object]
    buried: Callable[[], list[tuple[str, str]]]


def settings_of(connection_string: str, **more: Any) -> Settings:
    return Settings.model_validate(
        {"profile": "production", "blob_connection_string": connection_string, **more}
    )


@pytest.fixture
def sent_to(services: Services) -> Iterator[QueueClient]:
    with own_queue(services.connection_string) as client:
        yield client


@pytest.fixture
def azure(services: Services, sent_to: QueueClient) -> Iterator[AzureQueue]:
    with queue_service(settings_of(services.connection_string), retries=0) as service:
        yield AzureQueue(service, sent_to.queue_name)


@pytest.fixture(params=["memory", "azure"])
def under_test(request: pytest.FixtureRequest) -> QueueUnderTest:
    if request.param == "memory":
        memory = MemoryQueue()

        def pass_time(seconds: float) -> None:
            memory.now_s += seconds

        return QueueUnderTest(memory, memory, memory.send, pass_time, lambda: memory.buried)
    azure, client = request.getfixturevalue("azure"), request.getfixturevalue("sent_to")
    services = request.getfixturevalue("services")

    def found() -> list[tuple[str, str]]:
        return [
            (record["message"], record["reason"])
            for record in buried(services.connection_string, client.queue_name)
        ]

    return QueueUnderTest(azure, azure, client.send_message, time.sleep, found)


def test_each_message_is_received_once_until_it_reappears(under_test: QueueUnderTest) -> None:
    for number in range(40):
        under_test.send(f"<event {number} & more>")
    received = [
        *under_test.queue.receive(35, hidden_s=60),
        *under_test.other.receive(35, hidden_s=60),
    ]
    assert {message.text for message in received} == {
        f"<event {number} & more>" for number in range(40)
    }
    assert [message.received_times for message in received] == [1] * 40
    assert under_test.queue.receive(32, hidden_s=60) == []
    (again,) = [message for message in received if message.text == "<event 7 & more>"]
    hidden = under_test.queue.hide(again, 0)
    (back,) = under_test.other.receive(32, hidden_s=60)
    assert (back.id, back.text, back.received_times) == (again.id, again.text, 2)
    assert len({again.receipt, hidden.receipt, back.receipt}) == 3


def test_a_message_that_is_not_deleted_reappears(under_test: QueueUnderTest) -> None:
    under_test.send("a")
    (first,) = under_test.queue.receive(1, hidden_s=1)
    under_test.wait(1.2)
    (second,) = under_test.other.receive(1, hidden_s=60)
    assert (second.id, second.received_times) == (first.id, 2)


def test_a_message_received_by_another_belongs_to_the_other(under_test: QueueUnderTest) -> None:
    under_test.send("a")
    (first,) = under_test.queue.receive(1, hidden_s=60)
    under_test.queue.hide(first, 0)
    (second,) = under_test.other.receive(1, hidden_s=60)
    under_test.queue.delete(first)
    under_test.queue.bury(first, "no event")
    assert under_test.queue.hide(first, 0) == first
    assert (under_test.queue.receive(1, hidden_s=60), under_test.buried()) == ([], [])
    under_test.other.hide(second, 0)
    (third,) = under_test.other.receive(1, hidden_s=60)
    assert (third.text, third.received_times) == ("a", 3)


def test_deleting_a_message_twice_is_no_error(
    under_test: QueueUnderTest,
) -> None:
    under_test.send("a")
    (message,) = under_test.queue.receive(1, hidden_s=60)
    for _ in range(2):
        under_test.queue.delete(message)
    under_test.queue.bury(message, "no event")
    assert under_test.queue.hide(message, 0) == message
    assert (under_test.queue.receive(1, hidden_s=60), under_test.buried()) == ([], [])


def test_a_buried_message_is_out_of_the_queue_and_kept_with_the_reason(
    under_test: QueueUnderTest,
) -> None:
    for text in ("a", "b"):
        under_test.send(text)
    for message in under_test.queue.receive(2, hidden_s=60):
        under_test.queue.bury(message, f"{message.text} is no event")
    assert sorted(under_test.buried()) == [("a", "a is no event"), ("b", "b is no event")]
    assert under_test.queue.receive(32, hidden_s=60) == []


def test_a_buried_record_has_reason_time_and_count(
    services: Services, sent_to: QueueClient, azure: AzureQueue
) -> None:
    sent = sent_to.send_message("kein Ereignis: 💎")
    azure.hide(azure.receive(1, hidden_s=60)[0], 0)
    (message,) = azure.receive(1, hidden_s=60)
    azure.bury(message, "It is neither JSON nor JSON as Base64 text.")
    (record,) = buried(services.connection_string, sent_to.queue_name)
    assert record.pop("buried_at_utc").endswith("+00:00")
    assert record == {
        "reason": "It is neither JSON nor JSON as Base64 text.",
        "message": "kein Ereignis: 💎",
        "message_id": sent.id,
        "received_times": 2,
    }


@pytest.mark.parametrize("character", ["x", '"', "<", "&"])
def test_the_largest_possible_message_is_received_whole_and_buried(
    services: Services, sent_to: QueueClient, azure: AzureQueue, character: str
) -> None:
    """ASCII only, as Event Grid writes.

    Azurite damages a multi-byte character where two packets of a request meet.
    """
    text = character * MESSAGE_MAX_BYTES
    sent_to.send_message(text)
    (message,) = azure.receive(1, hidden_s=60)
    assert message.text == text
    azure.bury(message, "too much")
    (record,) = buried(services.connection_string, sent_to.queue_name)
    assert text.startswith(record["message"])
    assert record["left_out_characters"] == len(text) - len(record["message"]) > 0
    assert MESSAGE_MAX_BYTES - 12 < len(json.dumps(record)) <= MESSAGE_MAX_BYTES


def test_messages_buried_at_once_share_one_poison_queue(
    services: Services, sent_to: QueueClient, azure: AzureQueue
) -> None:
    for number in range(16):
        sent_to.send_message(f"{number}")
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda message: azure.bury(message, "no event"), azure.receive(16, hidden_s=60)
            )
        )
    assert {
        record["message"] for record in buried(services.connection_string, sent_to.queue_name)
    } == {f"{number}" for number in range(16)}


@pytest.mark.parametrize("encode", [True, False])
@pytest.mark.parametrize("shape", ["eventgrid", "cloudevents"])
def test_an_event_leads_to_its_object(
    blobs: Blobs, sent_to: QueueClient, azure: AzureQueue, shape: Shape, encode: bool
) -> None:
    settings = settings_of(blobs.connection_string, blob_container_prefix=blobs.prefix)
    with blob_client(blobs.connection_string) as service:
        blob = service.get_blob_client(f"{blobs.prefix}bronze", "Höhen/a b#1%20.tif")
        blob.upload_blob(b"II*\x00")
        announce(sent_to, blob, shape, encode=encode)
        found = blob.get_blob_properties()
    (message,) = azure.receive(1, hidden_s=60)
    (event,) = parse_message(
        message.text,
        account_url=account_url(settings),
        container_prefix=settings.blob_container_prefix,
    )
    assert event.is_created
    assert (event.container, event.key, event.size_bytes) == ("bronze", "Höhen/a b#1%20.tif", 4)
    assert (event.etag, event.happened_at_utc) == (found.etag.strip('"'), found.last_modified)


def test_a_missing_queue_is_reported_with_a_remedy(services: Services) -> None:
    queue = open_queue(settings_of(services.connection_string, arrivals_queue="not-made"))
    assert queue is not None
    gone = QueuedMessage("e8c3f2f5-5d1f-4d6a-8f3c-1c2b3a4d5e6f", "MDIxMDE2MjM6MDA6MDAzNzRl", "a", 1)
    for call in (
        lambda: queue.receive(1, hidden_s=60),
        lambda: queue.hide(gone, 1),
        lambda: queue.bury(gone, "no event"),
    ):
        with pytest.raises(SourceNotFound, match=r"The queue not-made was not found") as missing:
            call()
        assert "deploy/azure/storage.json" in missing.value.remedy
    with pytest.raises(SourceNotFound):
        queue.delete(gone)


def test_a_wrong_key_is_denied_and_never_printed(services: Services, sent_to: QueueClient) -> None:
    wrong = "c2VjcmV0IGtleSB0aGF0IGlzIHdyb25n"
    queue = open_queue(
        settings_of(
            services.connection_string.replace(services.account_key, wrong),
            arrivals_queue=sent_to.queue_name,
        )
    )
    assert queue is not None
    with pytest.raises(
        StoreDenied, match=f"The queue {sent_to.queue_name} cannot be used"
    ) as denied:
        queue.receive(1, hidden_s=60)
    assert "Storage Queue Data Contributor" in denied.value.remedy
    said, cause = "", denied.value
    while cause is not None:
        said, cause = f"{said} {cause!r}", cause.__cause__
    assert wrong not in said


def test_a_lost_server_is_a_temporary_error_and_the_message_is_kept(
    own_azurite: OwnAzurite,
) -> None:
    with (
        own_queue(own_azurite.connection_string) as client,
        queue_service(settings_of(own_azurite.connection_string), retries=0) as service,
    ):
        queue = AzureQueue(service, client.queue_name)
        client.send_message(
            message_text(Created(container="bronze", key="a.tif").event("eventgrid"))
        )
        (message,) = queue.receive(1, hidden_s=60)
        own_azurite.stop()
        calls: tuple[Callable[[], object], ...] = (
            lambda: queue.receive(1, hidden_s=60),
            lambda: queue.hide(message, 1),
            lambda: queue.delete(message),
            lambda: queue.bury(message, "no event"),
        )
        for call in calls:
            with pytest.raises(StoreUnavailable, match=f"The queue {client.queue_name}") as away:
                call()
            assert away.value.retryable
        own_azurite.start()
        queue.hide(message, 0)
        assert [again.id for again in queue.receive(1, hidden_s=60)] == [message.id]
