"""API keys: made, kept as hashes in a file of the home, and recognised.

What belongs here: the file and what is in it. What stays out: printing (`cli/commands/keys.py`), requests (`lock.py`).

A key is `gp_<id>_<secret>`. The id finds the entry, the secret proves it. The secret is 256 random bits, so that one SHA-256 of it
cannot be turned back by guessing, and a slow hash would add nothing but load.

    <home>/api/keys.json    mode 0600; read again whenever it has changed, so that what is revoked is refused at once
"""

import hashlib
import hmac
import os
import re
import secrets
import stat
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from geo_platform.api.auth.principal import Principal, Scope
from geo_platform.errors import Conflict, ParameterInvalid, StoreDenied, Unauthenticated
from geo_platform.storage.local.atomic import (
    new_incoming,
    os_errors,
    own_folder,
    process_lock,
    publish_file,
)

KEY_PREFIX = "gp_"
_FORM = re.compile(r"gp_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NOBODY = hashlib.sha256(b"nobody").hexdigest()


class StoredKey(BaseModel):
    """All that is kept of a key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    name: str
    sha256: str
    scope: Scope
    containers: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    created_at_utc: datetime
    expires_at_utc: datetime | None = None

    @property
    def is_expired(self) -> bool:
        return self.expires_at_utc is not None and self.expires_at_utc <= datetime.now(UTC)


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    keys: tuple[StoredKey, ...] = ()


class KeyFile:
    """The keys of one home. Safe among threads and processes of one machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._known: dict[str, StoredKey] = {}

    def create(
        self,
        name: str,
        scope: Scope,
        *,
        containers: tuple[str, ...] = (),
        datasets: tuple[str, ...] = (),
        expires_in: timedelta | None = None,
    ) -> str:
        """The key, which is nowhere to be had again. Raises ParameterInvalid (the name), Conflict (it is taken), StoreDenied."""
        if not _NAME.fullmatch(name):
            raise ParameterInvalid(
                f"{name!r} cannot be the name of a key.",
                remedy="Use 1 to 64 letters, digits, dots, underscores and hyphens.",
            )
        identifier, secret, now = secrets.token_hex(6), secrets.token_urlsafe(32), datetime.now(UTC)
        made = StoredKey(
            id=identifier,
            name=name,
            sha256=_digest(secret),
            scope=scope,
            containers=containers,
            datasets=datasets,
            created_at_utc=now,
            expires_at_utc=now + expires_in if expires_in is not None else None,
        )
        with self._changing():
            present = self._read().keys
            if any(key.name == name for key in present):
                raise Conflict(
                    f"There is a key {name!r} already.",
                    remedy="Choose another name, or revoke that key first.",
                )
            self._write(_Stored(keys=(*present, made)))
        return f"{KEY_PREFIX}{identifier}_{secret}"

    def revoke(self, name: str) -> None:
        """Raises ParameterInvalid where there is no such key."""
        with self._changing():
            present = self._read().keys
            kept = tuple(key for key in present if key.name != name)
            if len(kept) == len(present):
                raise ParameterInvalid(
                    f"There is no key {name!r}.", remedy="See geo-platform keys list."
                )
            self._write(_Stored(keys=kept))

    def listed(self) -> tuple[StoredKey, ...]:
        return self._read().keys

    def names(self) -> tuple[str, ...]:
        """Of those that open anything now."""
        return tuple(key.name for key in self.listed() if not key.is_expired)

    def principal_of(self, credential: str) -> Principal:
        """Raises Unauthenticated; StoreDenied where the file cannot be used, which lets nobody in."""
        form = _FORM.fullmatch(credential)
        if form is None:
            raise Unauthenticated("There is no such API key.", reason="key: malformed")
        identifier, secret = form.groups()
        key = self._current().get(identifier)
        # compared also where there is none, so that the time says nothing
        matches = hmac.compare_digest(_digest(secret), key.sha256 if key is not None else _NOBODY)
        if key is None or not matches:
            raise Unauthenticated(
                "There is no such API key.",
                reason="key: unknown id" if key is None else f"key {key.name}: wrong secret",
            )
        if key.is_expired:
            raise Unauthenticated("There is no such API key.", reason=f"key {key.name}: expired")
        return Principal(f"key:{key.name}", key.scope, key.containers, key.datasets)

    def _current(self) -> dict[str, StoredKey]:
        """Read again where the file is another: a write is a rename, so inode, size and time tell."""
        seen = self._state()
        if seen != self._seen:
            self._known = {key.id: key for key in self._read().keys}
            self._seen = seen
        return self._known

    def _state(self) -> tuple[int, int, int] | None:
        with os_errors(f"The file of API keys {self._path}"):
            try:
                found = self._path.stat()
            except FileNotFoundError:
                return None
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise StoreDenied(
                f"The file of API keys {self._path} may be written by others.",
                remedy=f"chmod 600 {self._path}, and look at geo-platform keys list.",
            )
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _read(self) -> _Stored:
        if self._state() is None:
            return _Stored()
        with os_errors(f"The file of API keys {self._path}"):
            content = self._path.read_bytes()
        try:
            return _Stored.model_validate_json(content)
        except ValidationError as error:
            raise StoreDenied(
                f"The file of API keys {self._path} is damaged: {error.error_count()} faults.",
                remedy="Restore it, or remove it and make keys anew.",
            ) from None

    def _write(self, stored: _Stored) -> None:
        with os_errors(f"The file of API keys {self._path}"):
            incoming = new_incoming(self._path.parent)
            try:
                descriptor = os.open(incoming, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(stored.model_dump_json(indent=1).encode())
                    file.flush()
                    os.fsync(file.fileno())
                publish_file(incoming, self._path)
            finally:
                incoming.unlink(missing_ok=True)

    def _changing(self) -> AbstractContextManager[None]:
        own_folder(self._path.parent)
        return process_lock(self._path.parent / ".keys.lock")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
