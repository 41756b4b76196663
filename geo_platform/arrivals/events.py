"""Parse queue messages: events of the storage account, in Event Grid's schema or CloudEvents 1.0.

An event only tells the platform which object to look up. The platform reads the object at that
container and key in its own account, with its own credentials. It parses the URL in an event but
never opens it. It refuses an event of another account, since its own account may have an object of
the same name.

Pure functions; `geo_platform/orchestrator/arrival_events.py` acts on events.

Called by `orchestrator/arrival_events.py`.
"""

import json
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from geo_platform.errors import ParameterInvalid

CREATED = "Microsoft.Storage.BlobCreated"
# These API calls create an empty object. A later event with the API FlushWithClose or SftpCommit
# reports that the object is complete.
_INCOMPLETE_APIS = frozenset({"CreateFile", "SftpCreate"})

_ADDRESS = re.compile(r"https?://([^/\\?#@\s]+)(?:/(.*))?", re.IGNORECASE | re.DOTALL)
_SUBJECT = re.compile(r"/blobServices/default/containers/[^/]+/blobs/(.+)", re.DOTALL)
_IPV4 = re.compile(r"[\d.]+")
_BARE_ETAG = re.compile(r"[0-9A-F]{12,}")
_NEVER_IN_A_URL = re.compile(r"[^!-~]|[\"#<>?\\^`{|}]")
_MAX_CHARACTERS = 80


class EventUnreadable(ValueError):  # noqa: N818  # named like the codes of errors.py
    """A queue message that cannot be used. The text of the exception is the reason, for people."""


@dataclass(frozen=True)
class ObjectEvent:
    """An event about an object.

    `etag` has the form that `ObjectStore.stat` returns. Size and time are copied from the event.
    `container` is without the deployment's prefix. It is empty if the object is not in a container
    of this deployment. An event about something other than an object has no container and no key.
    """

    id: str
    type: str
    api: str = ""
    container: str = ""
    key: str = ""
    etag: str = ""
    size_bytes: int | None = None
    happened_at_utc: datetime | None = None
    sequencer: str = ""
    blob_type: str = ""

    @property
    def is_created(self) -> bool:
        """Return whether a complete object was created in one of this deployment's containers."""
        return (
            self.type == CREATED
            and bool(self.container and self.key)
            and self.api not in _INCOMPLETE_APIS
        )


def parse_message(
    text: str, *, account_url: str | None = None, container_prefix: str = ""
) -> tuple[ObjectEvent, ...]:
    """Return the events of one message. The message is JSON or Base64 of JSON: an event or a list.

    `account_url` is the URL of this deployment's account; with None, events of all accounts are
    accepted.

    Raises EventUnreadable: the message is no event, or the object was created in another account.
    Raises ParameterInvalid: `account_url` is not a URL of a storage account.
    """
    account = account_of(account_url) if account_url is not None else None
    document = _json_of(text)
    events = document if isinstance(document, list) else [document]
    if not events:
        raise EventUnreadable("It is an empty list.")
    return tuple(_event(event, account, container_prefix) for event in events)


def account_of(url: str) -> str:
    """Return the account of a URL: the normalised host; for an emulator, the host and the account.

    Raises ParameterInvalid: it is not a plain URL of a storage account.
    """
    try:
        return _split_url(url)[0]
    except EventUnreadable as error:
        raise ParameterInvalid(f"The URL of the storage account cannot be used: {error}") from error


def _json_of(text: str) -> Any:
    text = text.strip("\ufeff \t\r\n")
    try:
        if not text.startswith(("{", "[")):
            text = b64decode("".join(text.split()), validate=True).decode("utf-8-sig")
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EventUnreadable("It is neither JSON nor JSON as Base64 text.") from error


def _event(document: Any, account: str | None, container_prefix: str) -> ObjectEvent:
    event = document if isinstance(document, dict) else {}
    is_cloud_event = "specversion" in event
    kind = _text(event, "type" if is_cloud_event else "eventType")
    if not kind:
        raise EventUnreadable(
            "It has neither Event Grid's eventType nor a CloudEvent's specversion and type."
        )
    if is_cloud_event and event["specversion"] != "1.0":
        raise EventUnreadable(
            f"It is a CloudEvent of version {_shown(event['specversion'])}; only 1.0 is supported."
        )
    data = event["data"] if isinstance(event.get("data"), dict) else {}
    container, key = _object_of(kind, _text(data, "url"), _text(event, "subject"), account)
    size_bytes = data.get("contentLength")
    return ObjectEvent(
        id=_text(event, "id"),
        type=kind,
        api=_text(data, "api"),
        container=container.removeprefix(container_prefix)
        if container.startswith(container_prefix)
        else "",
        key=key,
        etag=_etag(_text(data, "eTag")),
        size_bytes=size_bytes
        if isinstance(size_bytes, int) and not isinstance(size_bytes, bool) and size_bytes >= 0
        else None,
        happened_at_utc=_time(_text(event, "time" if is_cloud_event else "eventTime")),
        sequencer=_text(data, "sequencer"),
        blob_type=_text(data, "blobType"),
    )


def _object_of(kind: str, url: str, subject: str, account: str | None) -> tuple[str, str]:
    """Return (container with the deployment's prefix, key), or ("", "") for another kind of event.

    Only an event of a created object must name both, and must be of this account.
    """
    if kind != CREATED and _ADDRESS.fullmatch(url) is None:
        return "", ""
    if not url:
        raise EventUnreadable("It is about an object and has no data.url.")
    url_account, container, encoded_key = _split_url(url)
    if kind == CREATED and account is not None and url_account != account:
        raise EventUnreadable(
            f"It is of the account {_shown(url_account)}; this deployment uses {_shown(account)}."
        )
    if kind == CREATED and not (container and encoded_key):
        raise EventUnreadable(f"Its data.url {_shown(url)} does not name an object in a container.")
    return container, _key(encoded_key, subject)


def _split_url(url: str) -> tuple[str, str, str]:
    """Return (account, container, key as in the URL) of a URL without user, query or fragment."""
    address = _ADDRESS.fullmatch(url)
    if address is None:
        raise EventUnreadable(f"{_shown(url)} is not a plain URL of a storage account.")
    host, path = address[1].lower().removesuffix(":443"), address[2] or ""
    # An emulator names the account in the path.
    if ":" in host or "." not in host or _IPV4.fullmatch(host):
        name, _, path = path.partition("/")
        host = f"{host}/{name}"
    container, _, encoded_key = path.partition("/")
    return host.replace(".dfs.", ".blob.", 1), container, encoded_key


def _key(encoded_key: str, subject: str) -> str:
    """Return the key of the object.

    Azure's documentation does not specify whether the URL is percent-encoded, and both forms occur.
    The event's subject is never encoded. It decides if it equals one of the two forms; it may equal
    neither, since characters beyond the Basic Multilingual Plane can be lost in it.
    """
    subject_match = _SUBJECT.fullmatch(subject)
    try:
        decoded = unquote(encoded_key, errors="strict")
    except UnicodeDecodeError:
        return encoded_key
    if subject_match is not None and subject_match[1] in (decoded, encoded_key):
        return subject_match[1]
    return encoded_key if _NEVER_IN_A_URL.search(encoded_key) else decoded


def _etag(text: str) -> str:
    bare = text.removeprefix("W/").strip('"')
    return f"0x{bare}" if _BARE_ETAG.fullmatch(bare) else bare


def _time(text: str) -> datetime | None:
    """Return the time in UTC, or None if the text cannot be parsed.

    A time without a zone is UTC. An unreadable time is no error, since no decision depends on it.
    """
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _text(fields: Mapping[str, Any], name: str) -> str:
    """Return a field as text, or "" if it is missing. Raises EventUnreadable: it is not text."""
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or not _is_unicode(value):
        raise EventUnreadable(f"Its {name} is not text.")
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: Any) -> str:
    """Return the value as shortened text for an error message."""
    text = ascii(value)
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]}..."
