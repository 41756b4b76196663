"""Turn the objects of a run in the object store into events: messages, blobs, and the source.

Messages are read as plain JSON, so that messages of any version can be read. The objects to which
the messages refer are compared with the objects that the store has now. `contracts/stored.py` reads
messages for the stages.

Called by `answer.py` and `find.py`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from geo_platform.errors import MessageUnreadable, ParameterInvalid, SourceNotFound
from geo_platform.ports import (
    MESSAGES,
    QUARANTINE,
    QUARANTINE_RECORD,
    ObjectStore,
    StoredObject,
    message_key,
)
from geo_platform.trace.timeline import Event, Kind, Store

# Metadata of every object that a run writes.
RUN_ID = "run_id"

_REFERENCE = {"container", "key", "uri", "etag", "size_bytes"}


@dataclass(frozen=True)
class StoredMessage:
    """A stored message and its content. `content` is None if it cannot be read as a message."""

    stage: str
    stored: StoredObject
    name: str = ""
    version: int = 0
    content: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Reference:
    """An object to which a message refers. `role` is the path of the message's field with it."""

    role: str
    container: str
    key: str
    etag: str
    message: StoredMessage


def messages_of(objects: ObjectStore, run_id: str) -> list[StoredObject]:
    """Return the stored messages of a run, oldest first. Lists the whole container.

    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    messages = [
        stored
        for stored in objects.list(MESSAGES)
        if stored.reference.key.endswith(f"/{run_id}.json")
    ]
    return sorted(messages, key=lambda stored: (stored.last_modified_utc, stored.reference.key))


def read_messages(
    objects: ObjectStore, run_id: str, stages: Sequence[str] | None, partition: str | None
) -> list[StoredMessage]:
    """Return the run's messages in the order of `stages`; if it is None, all messages by time.

    A stage without a message is skipped.
    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    if stages is None:
        return [
            _read(objects, stored.reference.key.partition("/")[0], stored)
            for stored in messages_of(objects, run_id)
        ]
    messages = []
    for stage in stages:
        try:
            messages.append(
                _read(objects, stage, objects.stat(MESSAGES, message_key(stage, partition, run_id)))
            )
        except SourceNotFound:
            continue
    return messages


def object_events(
    objects: ObjectStore,
    run_id: str,
    messages: Sequence[StoredMessage],
    announced: Mapping[str, datetime],
) -> list[Event]:
    """Return the events of messages, sources, rows and blobs.

    `announced` maps a stage to the time at which the run's log reports its message as stored.
    Raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    """
    events: list[Event] = []
    for message in messages:
        events.append(_stored(message))
        events.extend(_content_events(objects, message))
    stages = {message.stage for message in messages}
    for stage, moment in announced.items():
        if stage not in stages:
            events.append(
                Event(
                    moment,
                    Store.objects,
                    Kind.MESSAGE_GONE,
                    f"the message of {stage} is no longer in the store",
                    stage,
                )
            )
    references = _unique(reference for message in messages for reference in _references(message))
    events.extend(_blob_event(objects, run_id, reference) for reference in references)
    events.extend(_unreferenced_blobs(objects, run_id, references))
    return events


def _read(objects: ObjectStore, stage: str, stored: StoredObject) -> StoredMessage:
    try:
        document = json.loads(objects.read_bytes(MESSAGES, stored.reference.key))
        return StoredMessage(
            stage,
            stored,
            str(document["message"]),
            int(document["schema_version"]),
            dict(document["content"]),
        )
    except (ValueError, KeyError, TypeError):
        return StoredMessage(stage, stored)


def _stored(message: StoredMessage) -> Event:
    reference = message.stored.reference
    details = {
        "message": message.name or None,
        "schema_version": message.version or None,
        **_described(message.stored),
    }
    if message.content is None:
        fault = MessageUnreadable(f"{reference.container}/{reference.key} is not a message.")
        return _event(
            message, Kind.MESSAGE_UNREADABLE, fault.message, details, error=fault.as_record()
        )
    return _event(message, Kind.MESSAGE_STORED, f"{message.name} v{message.version}", details)


def _content_events(objects: ObjectStore, message: StoredMessage) -> Iterator[Event]:
    content = message.content or {}
    if message.name == "ObjectArrived":
        yield _source_event(objects, message, content)
    if {"read", "inserted", "rejected"} <= content.keys():
        counts = {name: content.get(name) for name in ("read", "inserted", "rejected", "repaired")}
        reasons = {
            str(reason.get("reason")): reason.get("rows")
            for reason in content.get("reject_reasons", ())
        }
        text = (
            f"{content['read']} read, {content['inserted']} inserted, "
            f"{content['rejected']} rejected"
        )
        # Messages of older versions have one dataset, whose table is a field of the message.
        datasets = content.get("datasets") or [content]
        tables = [dataset["table"]["uri"] for dataset in datasets if dataset.get("table")]
        details = {
            **counts,
            "reject_reasons": reasons or None,
            "dataset": content.get("dataset"),
            "table": ", ".join(tables) or None,
        }
        yield _event(message, Kind.ROWS_COUNTED, text, details)


def _source_event(
    objects: ObjectStore, message: StoredMessage, content: Mapping[str, Any]
) -> Event:
    """Return when the source was written, and whether the store still has it unchanged."""
    container, key = str(content.get("container")), str(content.get("key"))
    arrived = datetime.fromisoformat(str(content.get("last_modified_utc")))
    try:
        now = objects.stat(container, key)
        is_same = (now.last_modified_utc, now.reference.size_bytes) == (
            arrived,
            content.get("size_bytes"),
        )
        state = "" if is_same else ", overwritten since"
    except SourceNotFound:
        state = ", in quarantine since" if _is_in_quarantine(objects, key) else ", removed since"
    details = {
        name: content.get(name) for name in ("uri", "etag", "size_bytes", "format", "media_type")
    }
    details["sidecars"] = [sidecar.get("key") for sidecar in content.get("sidecars", ())] or None
    text = f"{container}/{key}, {content.get('size_bytes')} bytes{state}"
    return Event(arrived, Store.objects, Kind.SOURCE_ARRIVED, text, details=details)


def _is_in_quarantine(objects: ObjectStore, key: str) -> bool:
    """Return whether quarantine has a record for this key. Any run may have refused the object."""
    try:
        objects.stat(QUARANTINE, key + QUARANTINE_RECORD)
    except (
        SourceNotFound,
        ParameterInvalid,
    ):  # the name may be too long
        return False
    return True


def _references(message: StoredMessage) -> Iterator[Reference]:
    """Yield the objects to which the message refers, without those in its field `source`."""

    def walk(value: Any, path: tuple[str, ...]) -> Iterator[Reference]:
        if isinstance(value, Mapping) and value.keys() == _REFERENCE:
            yield Reference(
                ".".join(path),
                str(value["container"]),
                str(value["key"]),
                str(value["etag"]),
                message,
            )
        elif isinstance(value, Mapping):
            for name, member in value.items():
                yield from walk(member, (*path, name))
        elif isinstance(value, list):
            for index, member in enumerate(value):
                yield from walk(member, (*path, str(index)))

    if message.content is not None and message.name != "ObjectArrived":
        yield from walk(
            {name: member for name, member in message.content.items() if name != "source"}, ()
        )


def _unique(references: Iterator[Reference]) -> list[Reference]:
    return list(
        {(reference.container, reference.key): reference for reference in references}.values()
    )


def _blob_event(objects: ObjectStore, run_id: str, reference: Reference) -> Event:
    message = reference.message
    place, role = f"{reference.container}/{reference.key}", {"role": reference.role}
    try:
        stored = objects.stat(reference.container, reference.key)
    except SourceNotFound:
        return _event(
            message,
            Kind.BLOB_GONE,
            f"{place} is gone",
            {**role, "etag": reference.etag},
        )
    writer = stored.metadata.get(RUN_ID, "")
    details = {**role, **_described(stored)}
    if stored.reference.etag != reference.etag and writer != run_id:
        was = {**details, "etag_then": reference.etag}
        return _event(
            message,
            Kind.BLOB_OVERWRITTEN,
            f"{place} was overwritten",
            was,
            by_run=writer or None,
        )
    if writer not in ("", run_id):
        text = f"{place}, {stored.reference.size_bytes} bytes, written by run {writer} and reused"
        return _blob(message.stage, stored, Kind.BLOB_REUSED, text, details, by_run=writer)
    return _blob(
        message.stage,
        stored,
        Kind.BLOB_WRITTEN,
        f"{place}, {stored.reference.size_bytes} bytes",
        details,
    )


def _unreferenced_blobs(
    objects: ObjectStore, run_id: str, references: Sequence[Reference]
) -> Iterator[Event]:
    """Yield the blobs of the run in the same folders to which no message refers."""
    referenced = {(reference.container, reference.key) for reference in references}
    folders = {
        (reference.container, reference.key.rpartition("/")[0]): reference.message.stage
        for reference in references
    }
    for (container, folder), stage in folders.items():
        for stored in objects.list(container, f"{folder}/"):
            key = stored.reference.key
            if (container, key) not in referenced and stored.metadata.get(RUN_ID) == run_id:
                text = f"{container}/{key}, {stored.reference.size_bytes} bytes"
                yield _blob(
                    stage,
                    stored,
                    Kind.BLOB_WRITTEN,
                    text,
                    {"role": key.rpartition("/")[2], **_described(stored)},
                )


def _blob(
    stage: str,
    stored: StoredObject,
    kind: Kind,
    text: str,
    details: Mapping[str, Any],
    *,
    by_run: str | None = None,
) -> Event:
    moment = stored.last_modified_utc
    whole = moment.microsecond == 0
    return Event(
        moment,
        Store.objects,
        kind,
        text,
        stage,
        by_run=by_run,
        details=details,
        is_whole_seconds=whole,
    )


def _event(
    message: StoredMessage,
    kind: Kind,
    text: str,
    details: Mapping[str, Any],
    *,
    by_run: str | None = None,
    error: Mapping[str, Any] | None = None,
) -> Event:
    """Return an event of a message, at the time at which the message was stored."""
    moment = message.stored.last_modified_utc
    whole = moment.microsecond == 0
    return Event(
        moment,
        Store.objects,
        kind,
        text,
        message.stage,
        by_run=by_run,
        error=error,
        details=details,
        is_whole_seconds=whole,
    )


def _described(stored: StoredObject) -> dict[str, Any]:
    reference = stored.reference
    return {"uri": reference.uri, "etag": reference.etag, "size_bytes": reference.size_bytes}
