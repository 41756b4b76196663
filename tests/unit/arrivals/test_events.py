"""Queue messages of the shapes that Microsoft documents are read, and all others refused."""

import json
from base64 import b64encode
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.arrivals.events import (
    CREATED,
    EventUnreadable,
    ObjectEvent,
    account_of,
    parse_message,
)
from geo_platform.errors import ParameterInvalid
from tests.support.queues import Created, Shape, message_text

OURS = "https://geoaccount.blob.core.windows.net"
TOLD = Created(container="bronze", key="dem/new file.tif")
EXPECTED = ObjectEvent(
    id="831e1650-001e-001b-66ab-eeb76e069631",
    type=CREATED,
    api="PutBlockList",
    container="bronze",
    key="dem/new file.tif",
    etag="0x8D4BCC2E4835CD0",
    size_bytes=524288,
    happened_at_utc=datetime(2026, 6, 26, 18, 41, 0, 958410, UTC),
    sequencer="00000000000004420000000000028963",
    blob_type="BlockBlob",
)
SHAPES: tuple[Shape, ...] = ("eventgrid", "cloudevents")


def parsed(created: Created, shape: Shape = "eventgrid", **terms: Any) -> ObjectEvent:
    (event,) = parse_message(message_text(created.event(shape)), **terms)
    return event


@pytest.mark.parametrize("encode", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_both_shapes_give_the_same_event_alone_in_a_list_and_encoded(
    shape: Shape, encode: bool
) -> None:
    assert parse_message(message_text(TOLD.event(shape), encode=encode), account_url=OURS) == (
        EXPECTED,
    )
    listed = message_text([TOLD.event(shape), replace(TOLD, key="b").event(shape)], encode=encode)
    assert parse_message(listed) == (EXPECTED, replace(EXPECTED, key="b"))


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff{}",
        "\n {} \n",
        b64encode(b"\xef\xbb\xbf{}").decode(),
        b64encode(b"{}").decode() + "\r\n",
    ],
)
def test_a_byte_order_mark_and_surrounding_white_space_are_ignored(text: str) -> None:
    with pytest.raises(EventUnreadable, match="eventType"):
        parse_message(text)


@pytest.mark.parametrize(
    "api", ["PutBlob", "PutBlockList", "CopyBlob", "FlushWithClose", "SftpCommit", "SomethingNew"]
)
def test_every_api_call_that_completes_an_object_creates_it(api: str) -> None:
    assert parsed(replace(TOLD, api=api)).is_created


@pytest.mark.parametrize("api", ["CreateFile", "SftpCreate"])
def test_a_file_that_was_only_opened_is_not_created_yet(api: str) -> None:
    assert not parsed(replace(TOLD, api=api, size_bytes=0)).is_created


@pytest.mark.parametrize(
    "kind",
    [
        "Microsoft.Storage.BlobDeleted",
        "Microsoft.Storage.BlobTierChanged",
        "Microsoft.Storage.BlobRenamed",
        "Contoso.Items.Arrived",
    ],
)
def test_other_events_of_an_object_are_no_arrival_and_no_error(kind: str) -> None:
    event = parsed(
        replace(TOLD, type=kind, account_url="https://another.blob.core.windows.net"),
        account_url=OURS,
    )
    assert (event.is_created, event.type, event.key) == (False, kind, "dem/new file.tif")


def test_the_validation_of_a_subscription_is_no_arrival_and_no_error() -> None:
    asked = {
        "id": "2d1781af-3a4c-4d7c-bd0c-e34b19da4e66",
        "topic": "/subscriptions/5b4b650e-28b9-4790-b3ab-ddbd88d727c4",
        "subject": "",
        "data": {"validationCode": "512d38b6-c7b8-40c8-89fe-f46f9e9622b6"},
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "eventTime": "2026-01-25T22:12:19.4556811Z",
        "metadataVersion": "1",
        "dataVersion": "1",
    }
    (event,) = parse_message(message_text([asked]), account_url=OURS)
    assert (event.is_created, event.container, event.key) == (False, "", "")


@pytest.mark.parametrize(
    ("url", "subject_key", "key"),
    [
        ("a/b%20c.tif", "a/b c.tif", "a/b c.tif"),
        ("a/b c.tif", "a/b c.tif", "a/b c.tif"),
        ("M%C3%BCnchen/%E5%9C%B0%E5%9B%BE.tif", "München/地图.tif", "München/地图.tif"),
        ("survey #4?.tif", "survey #4?.tif", "survey #4?.tif"),
        ("100%25.tif", "100%.tif", "100%.tif"),
        ("100%25.tif", "100%25.tif", "100%25.tif"),
        ("100%.tif", "100%.tif", "100%.tif"),
        ("100%ff.tif", "100%ff.tif", "100%ff.tif"),
        ("100 %20.tif", "100 %20.tif", "100 %20.tif"),
        ("a+b.tif", "a+b.tif", "a+b.tif"),
        ("%F0%9F%92%8E.tif", "\ufffd\ufffd.tif", "💎.tif"),
        ("a//b/../c.tif", "a//b/../c.tif", "a//b/../c.tif"),
    ],
)
def test_the_key_is_the_name_of_the_blob_whether_the_url_is_encoded_or_not(
    url: str, subject_key: str, key: str
) -> None:
    created = Created(container="bronze", key=subject_key, url=f"{OURS}/bronze/{url}")
    assert parsed(created, account_url=OURS).key == key
    without_subject = created.event("cloudevents") | {"subject": None}
    (event,) = parse_message(message_text(without_subject))
    assert event.key == key or url == "100%25.tif"


@pytest.mark.parametrize(
    ("written", "etag"),
    [
        ('"0x8D4BCC2E4835CD0"', "0x8D4BCC2E4835CD0"),
        ("0x8D4BCC2E4835CD0", "0x8D4BCC2E4835CD0"),
        ("8D4BCC2E4835CD0", "0x8D4BCC2E4835CD0"),
        ('"another"', "another"),
        ("", ""),
    ],
)
def test_an_etag_has_the_form_of_the_store(written: str, etag: str) -> None:
    assert parsed(replace(TOLD, etag=written)).etag == etag


def test_only_containers_with_the_prefix_belong_to_the_deployment() -> None:
    ours = replace(TOLD, container="test-bronze")
    assert parsed(ours, container_prefix="test-").container == "bronze"
    assert parsed(ours).container == "test-bronze"
    other = parsed(TOLD, container_prefix="test-")
    assert (other.container, other.is_created) == ("", False)


@pytest.mark.parametrize(
    "url",
    [
        "https://geoaccount.blob.core.windows.net/bronze/a.tif",
        "https://geoaccount.dfs.core.windows.net/bronze/a.tif",
        "HTTPS://GeoAccount.blob.core.windows.net:443/bronze/a.tif",
    ],
)
def test_an_account_is_known_by_each_of_its_urls(url: str) -> None:
    created = Created(container="bronze", key="a.tif", url=url, api="FlushWithClose")
    event = parsed(created, account_url=f"{OURS}/")
    assert (event.container, event.key, event.is_created) == ("bronze", "a.tif", True)


@pytest.mark.parametrize(
    "url",
    [
        "https://another.blob.core.windows.net/bronze/a.tif",
        "https://geoaccount.blob.core.chinacloudapi.cn/bronze/a.tif",
        "https://geoaccount.blob.core.windows.net.example.org/bronze/a.tif",
        "https://169.254.169.254/metadata/identity/oauth2/token",
        "http://127.0.0.1:10000/geoaccount/bronze/a.tif",
    ],
)
def test_an_object_of_another_account_is_refused_and_the_account_named(url: str) -> None:
    with pytest.raises(
        EventUnreadable,
        match=r"It is of the account '.*'; this deployment uses 'geoaccount.blob.core.windows.net'",
    ):
        parsed(Created(container="bronze", key="a.tif", url=url), account_url=OURS)


@pytest.mark.parametrize(
    "url",
    [
        "https://geoaccount.blob.core.windows.net@example.org/bronze/a.tif",
        "https://example.org\\@geoaccount.blob.core.windows.net/bronze/a.tif",
        "https://geoaccount.blob.core.windows.net?/bronze/a.tif",
        "file:///etc/passwd",
        "//geoaccount.blob.core.windows.net/bronze/a.tif",
        "https:///bronze/a.tif",
        "bronze/a.tif",
    ],
)
def test_a_url_that_hides_its_host_is_refused(url: str) -> None:
    with pytest.raises(EventUnreadable, match="not a plain URL"):
        parsed(Created(container="bronze", key="a.tif", url=url), account_url=OURS)


def test_the_account_of_an_emulator_is_part_of_the_path() -> None:
    local = "http://127.0.0.1:10000/devstoreaccount1"
    created = Created(container="bronze", key="a/b.tif", account_url=local)
    event = parsed(created, account_url=local)
    assert (event.container, event.key) == ("bronze", "a/b.tif")
    assert account_of(local) == account_of(f"{local}/") == "127.0.0.1:10000/devstoreaccount1"
    with pytest.raises(EventUnreadable, match="devstoreaccount2"):
        parsed(
            replace(created, account_url="http://127.0.0.1:10000/devstoreaccount2"),
            account_url=local,
        )


def test_an_invalid_setting_is_not_blamed_on_the_message() -> None:
    with pytest.raises(ParameterInvalid, match="'geoaccount' is not a plain URL"):
        parsed(TOLD, account_url="geoaccount")


def _changed(shape: Shape, **changes: Any) -> str:
    return json.dumps(TOLD.event(shape) | changes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "neither JSON nor JSON as Base64"),
        ("hello", "neither JSON nor JSON as Base64"),
        ("[" * 60_000, "neither JSON nor JSON as Base64"),
        ('{"eventType": ', "neither JSON nor JSON as Base64"),
        (b64encode(b"\xff\xfe").decode(), "neither JSON nor JSON as Base64"),
        (b64encode(b"hello").decode(), "neither JSON nor JSON as Base64"),
        (
            b64encode(message_text(TOLD.event("eventgrid")).encode()).decode(),
            "neither JSON nor JSON as Base64",
        ),
        ("[]", "empty list"),
        ("[[]]", "neither Event Grid's eventType nor"),
        (b64encode(b"7").decode(), "neither Event Grid's eventType nor"),
        ('{"type": "Microsoft.Storage.BlobCreated"}', "neither Event Grid's eventType nor"),
        (_changed("cloudevents", specversion="0.3"), "version '0.3'; only 1.0 is supported"),
        (_changed("eventgrid", data={}), "no data.url"),
        (
            _changed("eventgrid", data="https://geoaccount.blob.core.windows.net/bronze/a.tif"),
            "no data.url",
        ),
        (_changed("eventgrid", data={"url": 7}), "Its url is not text"),
        (_changed("eventgrid", data={"url": f"{OURS}/bronze"}), "does not name an object"),
        (_changed("eventgrid", data={"url": f"{OURS}/bronze/"}), "does not name an object"),
        (_changed("eventgrid", data={"url": f"{OURS}/bronze/\ud800.tif"}), "Its url is not text"),
    ],
)
def test_other_text_is_unreadable_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(EventUnreadable, match=reason):
        parse_message(text, account_url=OURS)


def test_a_reason_is_short_however_long_the_message_is() -> None:
    with pytest.raises(EventUnreadable) as unreadable:
        parsed(
            Created(container="bronze", key="a", url=f"https://{'x' * 50_000}.org/bronze/\n"),
            account_url=OURS,
        )
    assert len(str(unreadable.value)) < 300
    assert str(unreadable.value).isprintable()


@pytest.mark.parametrize(
    "time", ["", "yesterday", "9999-12-31T23:59:59-14:00", "2026-06-26T18:41:00+02:00"]
)
def test_an_unreadable_time_is_omitted(time: str) -> None:
    expected = datetime(2026, 6, 26, 16, 41, tzinfo=UTC) if time.endswith("+02:00") else None
    assert parsed(replace(TOLD, time=time)).happened_at_utc == expected


@pytest.mark.parametrize("size", [None, -1, True, "7", 7.5])
def test_an_invalid_size_is_omitted(size: Any) -> None:
    assert parsed(replace(TOLD, size_bytes=size)).size_bytes is None


_TEXTS = st.text(max_size=30)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)
_DATA = st.fixed_dictionaries(
    {},
    optional={
        "url": st.just(f"{OURS}/bronze/a") | _JSON,
        "api": _JSON,
        "eTag": _JSON,
        "contentLength": _JSON,
        "sequencer": _JSON,
    },
)
_NEARLY = st.fixed_dictionaries(
    {},
    optional={
        "eventType": st.just(CREATED) | _JSON,
        "type": st.just(CREATED) | _JSON,
        "specversion": st.just("1.0") | _JSON,
        "subject": _JSON,
        "eventTime": _JSON,
        "time": _JSON,
        "id": _JSON,
        "data": _DATA | _JSON,
    },
)


@given(
    text=st.text()
    | st.binary().map(lambda content: b64encode(content).decode())
    | st.builds(
        message_text, _NEARLY | st.lists(_NEARLY | _JSON, max_size=3) | _JSON, encode=st.booleans()
    ),
    account_url=st.sampled_from([None, OURS]),
    prefix=st.sampled_from(["", "test-"]),
)
def test_no_text_raises_any_other_error(text: str, account_url: str | None, prefix: str) -> None:
    events: tuple[ObjectEvent, ...] = ()
    with suppress(EventUnreadable):
        events = parse_message(text, account_url=account_url, container_prefix=prefix)
    assert all(event.key for event in events if event.is_created)


_KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(
    key=_KEYS | st.text(st.sampled_from("a/% 2F5#?&+~.é地"), min_size=1, max_size=40),
    prefix=st.sampled_from(["", "test-", "a-b-"]),
    etag=st.integers(16**12, 16**15 - 1).map(lambda number: f"0x{number:X}"),
    size_bytes=st.integers(0, 2**62),
    happened=st.datetimes(timezones=st.just(UTC)),
    shape=st.sampled_from(SHAPES),
    is_encoded=st.booleans(),
    account_url=st.sampled_from([OURS, "http://127.0.0.1:10000/devstoreaccount1"]),
)
def test_every_event_of_event_grid_is_read_back(
    key: str,
    prefix: str,
    etag: str,
    size_bytes: int,
    happened: datetime,
    shape: Shape,
    is_encoded: bool,
    account_url: str,
) -> None:
    created = Created(
        container=f"{prefix}bronze",
        key=key,
        account_url=account_url,
        etag=f'"{etag}"',
        size_bytes=size_bytes,
        time=f"{happened.replace(tzinfo=None).isoformat(timespec='microseconds')}0Z",
        url=None if is_encoded else f"{account_url}/{prefix}bronze/{key}",
    )
    (event,) = parse_message(
        message_text([created.event(shape)]), account_url=account_url, container_prefix=prefix
    )
    expected = ObjectEvent(
        id=created.id,
        type=CREATED,
        api=created.api,
        container="bronze",
        key=key,
        etag=etag,
        size_bytes=size_bytes,
        happened_at_utc=happened,
        sequencer=event.sequencer,
        blob_type="BlockBlob",
    )
    assert event == expected
    assert event.is_created
