"""Parse queue messages: events of the storage account, in Event Grid's schema or CloudEvents 1.0.

An event is only a hint of where to look. The platform processes what its own account holds at that
container and key, read with its own credentials. The URL in an event is parsed and never opened; an
event of another account is refused, since this account may have an object of the same name.

Pure functions; `geo_platform/orchestrator/arrival_events.py` acts on events.
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
# These calls create an empty object; FlushWithClose and SftpCommit report when it is complete.
_NOT_WHOLE_YET = frozenset({"CreateFile", "SftpCreate"})

_ADDRESS = re.compile(r"https?://([^/\\?#@\s]+)(?:/(.*))?", re.IGNORECASE | re.DOTALL)
_SUBJECT = re.compile(r"/blobServices/default/containers/[^/]+/blobs/(.+)", re.DOTALL)
_IPV4 = re.compile(r"[\d.]+")
_BARE_ETAG = re.compile(r"[0-9A-F]{12,}")
_NEVER_IN_AN_ADDRESS = re.compile(r"[^!-~]|[\"#<>?\\^`{|}]")
_SHOWN_CHARACTERS = 80


class EventUnreadable(ValueError):  # noqa: N818  # named like the codes of errors.py
    """A message that cannot be used. Its text is the reason, for people."""


@dataclass(frozen=True)
class ObjectEvent:
    """An event about an object.

    `etag` has the form of ObjectStore.stat. Size and time are as the event states them. `container`
    has no deployment prefix; it is empty if the object is in none of the deployment's containers.
    An event about something other than an object has neither container nor key.
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
            and self.api not in _NOT_WHOLE_YET
        )


def parse_message(
    text: str, *, account_url: str | None = None, container_prefix: str = ""
) -> tuple[ObjectEvent, ...]:
    """Return the events of one message: JSON, or JSON as Base64; one event or a list of them.

    `account_url` is the URL of this deployment's account; with None, events of any account pass.

    Raises EventUnreadable: not an event, or an object created in another account. ParameterInvalid:
    `account_url` is not a URL of a storage account.
    """
    account = account_of(account_url) if account_url is not None else None
    found = _json_of(text)
    events = found if isinstance(found, list) else [found]
    if not events:
        raise EventUnreadable("It is an empty list.")
    return tuple(_event(event, account, container_prefix) for event in events)


def account_of(url: str) -> str:
    """Return the normalised host of a URL; for an emulator, host and account. Raises
    ParameterInvalid.
    """
    try:
        return _placed(url)[0]
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
    """Return (container with its prefix, key).

    Both must be present, and of this account, only if the event reports a created object.
    """
    if kind != CREATED and _ADDRESS.fullmatch(url) is None:
        return "", ""
    if not url:
        raise EventUnreadable("It is about an object and has no data.url.")
    found, container, written = _placed(url)
    if kind == CREATED and account is not None and found != account:
        raise EventUnreadable(
            f"It is of the account {_shown(found)}; this deployment uses {_shown(account)}."
        )
    if kind == CREATED and not (container and written):
        raise EventUnreadable(f"Its data.url {_shown(url)} does not name an object in a container.")
    return container, _name(written, subject)


def _placed(url: str) -> tuple[str, str, str]:
    """Return (account, container, name as written) of a URL without user, query or fragment."""
    address = _ADDRESS.fullmatch(url)
    if address is None:
        raise EventUnreadable(f"{_shown(url)} is not a plain URL of a storage account.")
    host, path = address[1].lower().removesuffix(":443"), address[2] or ""
    # An emulator names the account in the path.
    if ":" in host or "." not in host or _IPV4.fullmatch(host):
        name, _, path = path.partition("/")
        host = f"{host}/{name}"
    container, _, written = path.partition("/")
    return host.replace(".dfs.", ".blob.", 1), container, written


def _name(written: str, subject: str) -> str:
    """Return the blob's name.

    The documentation does not say whether the URL is percent-encoded, and both forms occur. The
    subject is never encoded, so it decides, unless it matches neither form: characters beyond the
    Basic Multilingual Plane can be lost in it.
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
    """Return a time in UTC (also without a zone), or None if it cannot be parsed: it decides
    nothing.
    """
    try:
        time = datetime.fromisoformat(written)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _text(found: Mapping[str, Any], name: str) -> str:
    """Return a field as text, empty if it is missing. Raises EventUnreadable: not valid text."""
    value = found.get(name)
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
    """Return the value for a message, shortened."""
    shown = ascii(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}..."
