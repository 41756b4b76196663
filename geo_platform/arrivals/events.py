"""What a message of the queue says: events of the storage account, in Event Grid's own shape or as CloudEvents 1.0.

What belongs here: reading texts, pure. What stays out: queues, and what becomes of an object (`geo_platform/orchestrator/arrival_events.py`).

An event is a hint of where to look, and nothing more: what is processed is what lies in this deployment's own account at that
container and key, read with its own credentials. The address in an event is taken apart and never opened; an event of another
account is refused, since a key of the same name may lie here.
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
# Calls that make an empty object to be written to; FlushWithClose and SftpCommit tell when it is
# whole.
_NOT_WHOLE_YET = frozenset({"CreateFile", "SftpCreate"})

_ADDRESS = re.compile(r"https?://([^/\\?#@\s]+)(?:/(.*))?", re.IGNORECASE | re.DOTALL)
_SUBJECT = re.compile(r"/blobServices/default/containers/[^/]+/blobs/(.+)", re.DOTALL)
_IPV4 = re.compile(r"[\d.]+")
_BARE_ETAG = re.compile(r"[0-9A-F]{12,}")
_NEVER_IN_AN_ADDRESS = re.compile(r"[^!-~]|[\"#<>?\\^`{|}]")
_SHOWN_CHARACTERS = 80


class EventUnreadable(ValueError):  # noqa: N818  # what it is, not that it is one
    """A message of which nobody can make use. Its text is the reason, for a person."""


@dataclass(frozen=True)
class ObjectEvent:
    """What an event says of an object. `etag` is written as ObjectStore.stat gives it; sizes and times are the event's word.

    `container` is without the deployment's prefix, and empty where the object lies in none of its containers. An event of
    something else than an object has neither container nor key.
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
        """Whether it tells of a whole object in one of this deployment's containers."""
        return (
            self.type == CREATED
            and bool(self.container and self.key)
            and self.api not in _NOT_WHOLE_YET
        )


def parse_message(
    text: str, *, account_url: str | None = None, container_prefix: str = ""
) -> tuple[ObjectEvent, ...]:
    """The events of one message, in its order: JSON or JSON as Base64, one event or a list of them.

    `account_url` is the address of this deployment's account; None takes events of any. Raises EventUnreadable where the text is
    no event, or an object was created in another account; ParameterInvalid where `account_url` is no address.
    """
    account = account_of(account_url) if account_url is not None else None
    found = _json_of(text)
    events = found if isinstance(found, list) else [found]
    if not events:
        raise EventUnreadable("It is an empty list and holds no event.")
    return tuple(_event(event, account, container_prefix) for event in events)


def account_of(url: str) -> str:
    """Host of the account of an address, in one spelling; of an emulator with the account after it. Raises ParameterInvalid."""
    try:
        return _placed(url)[0]
    except EventUnreadable as error:
        raise ParameterInvalid(
            f"The address of the storage account cannot be used: {error}"
        ) from error


def _json_of(text: str) -> Any:
    text = text.strip("\ufeff \t\r\n")
    try:
        if not text.startswith(("{", "[")):
            text = b64decode("".join(text.split()), validate=True).decode("utf-8-sig")
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EventUnreadable("It is neither JSON nor JSON as Base64 text.") from error


def _event(found: Any, account: str | None, container_prefix: str) -> ObjectEvent:
    event = found if isinstance(found, dict) else {}
    is_cloud_event = "specversion" in event
    kind = _text(event, "type" if is_cloud_event else "eventType")
    if not kind:
        raise EventUnreadable(
            "It has neither Event Grid's eventType nor a CloudEvent's specversion and type."
        )
    if is_cloud_event and event["specversion"] != "1.0":
        raise EventUnreadable(
            f"It is a CloudEvent of version {_shown(event['specversion'])}, and 1.0 is read."
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
    """(container with its prefix, key). Only of an object that was created they have to be there, and in this account."""
    if kind != CREATED and _ADDRESS.fullmatch(url) is None:
        return "", ""
    if not url:
        raise EventUnreadable("It tells of an object and has no data.url that says which.")
    found, container, written = _placed(url)
    if kind == CREATED and account is not None and found != account:
        raise EventUnreadable(
            f"It is of the account {_shown(found)}, and this deployment's is {_shown(account)}."
        )
    if kind == CREATED and not (container and written):
        raise EventUnreadable(f"Its data.url {_shown(url)} names no object in a container.")
    return container, _name(written, subject)


def _placed(url: str) -> tuple[str, str, str]:
    """(account, container, name as it is written) of an address. Nothing may stand before the host or hide it."""
    address = _ADDRESS.fullmatch(url)
    if address is None:
        raise EventUnreadable(f"{_shown(url)} is no plain address of a storage account.")
    host, path = address[1].lower().removesuffix(":443"), address[2] or ""
    if (
        ":" in host or "." not in host or _IPV4.fullmatch(host)
    ):  # an emulator names the account in the path
        name, _, path = path.partition("/")
        host = f"{host}/{name}"
    container, _, written = path.partition("/")
    return host.replace(".dfs.", ".blob.", 1), container, written


def _name(written: str, subject: str) -> str:
    """The blob's name. It is not said anywhere whether the address is percent-encoded, and both have been seen.

    The subject, which never is, decides; unless it says neither, as where characters beyond the BMP were lost in it.
    """
    named = _SUBJECT.fullmatch(subject)
    try:
        decoded = unquote(written, errors="strict")
    except UnicodeDecodeError:
        return written
    if named is not None and named[1] in (decoded, written):
        return named[1]
    return written if _NEVER_IN_AN_ADDRESS.search(written) else decoded


def _etag(written: str) -> str:
    bare = written.removeprefix("W/").strip('"')
    return f"0x{bare}" if _BARE_ETAG.fullmatch(bare) else bare


def _time(written: str) -> datetime | None:
    """In UTC, also where no zone is written; None where it cannot be read: nothing is decided by it."""
    try:
        time = datetime.fromisoformat(written)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _text(found: Mapping[str, Any], name: str) -> str:
    """Empty where it is missing. Raises EventUnreadable for what is no text, or no valid Unicode."""
    value = found.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or not _is_unicode(value):
        raise EventUnreadable(f"Its {name} is no text.")
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: Any) -> str:
    """As much of it as fits into a sentence."""
    shown = ascii(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}..."
