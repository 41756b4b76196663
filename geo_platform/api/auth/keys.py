"""Create, store and verify API keys.

A key is `gp_<id>_<secret>`: the id finds the entry, the secret proves it. The file stores a
SHA-256 of the secret. The secret has 256 random bits, so that it cannot be guessed from its hash
and a slow hash would only add load.

    <home>/api/keys.json    mode 0600; read again when it changes: revoking works at once

Called by `authentication.py` and `cli/commands/keys.py`.
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
    ensure_folder,
    new_incoming,
    os_errors,
    process_lock,
    publish_file,
)

KEY_PREFIX = "gp_"
_KEY_PATTERN = re.compile(r"gp_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# Compared with the secret of an unknown key id.
_DUMMY_DIGEST = hashlib.sha256(b"nobody").hexdigest()


class StoredKey(BaseModel):
    """The entry of a key in the file: everything but the secret, of which it has a hash."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    name: str
    sha256: str
    scope: Scope
    containers: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    created_at_utc: datetime
    expires_at_utc: datetime | None = None

    @property
    def is_expired(self) -> bool:
        return self.expires_at_utc is not None and self.expires_at_utc <= datetime.now(UTC)


class _KeyDocument(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    keys: tuple[StoredKey, ...] = ()


class KeyFile:
    """The keys of one home. Safe among threads and processes of one machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file_version: tuple[int, int, int] | None = None
        self._keys_by_id: dict[str, StoredKey] = {}

    def create(
        self,
        name: str,
        scope: Scope,
        *,
        containers: tuple[str, ...] = (),
        datasets: tuple[str, ...] = (),
        collections: tuple[str, ...] = (),
        expires_in: timedelta | None = None,
    ) -> str:
        """Create a key and return it. It cannot be shown again.

        Raises ParameterInvalid: the name is not allowed. Conflict: the name is taken. StoreDenied:
        the file cannot be written.
        """
        if not _NAME.fullmatch(name):
            raise ParameterInvalid(
                f"{name!r} is not a valid name for a key.",
                remedy="Use 1 to 64 letters, digits, dots, underscores and hyphens.",
            )
        identifier, secret, now = secrets.token_hex(6), secrets.token_urlsafe(32), datetime.now(UTC)
        new_key = StoredKey(
            id=identifier,
            name=name,
            sha256=_digest(secret),
            scope=scope,
            containers=containers,
            datasets=datasets,
            collections=collections,
            created_at_utc=now,
            expires_at_utc=now + expires_in if expires_in is not None else None,
        )
        with self._changing():
            present = self._read().keys
            if any(key.name == name for key in present):
                raise Conflict(
                    f"A key named {name!r} exists.",
                    remedy="Choose another name, or revoke that key first.",
                )
            self._write(_KeyDocument(keys=(*present, new_key)))
        return f"{KEY_PREFIX}{identifier}_{secret}"

    def revoke(self, name: str) -> None:
        """Remove a key. It stops working at once.

        Raises ParameterInvalid: no key has this name. StoreDenied: the file cannot be used.
        """
        with self._changing():
            present = self._read().keys
            kept = tuple(key for key in present if key.name != name)
            if len(kept) == len(present):
                raise ParameterInvalid(
                    f"There is no key {name!r}.", remedy="See geo-platform keys list."
                )
            self._write(_KeyDocument(keys=kept))

    def listed(self) -> tuple[StoredKey, ...]:
        """Return all keys, expired ones too. Raises StoreDenied: the file cannot be used."""
        return self._read().keys

    def names(self) -> tuple[str, ...]:
        """Return the names of the keys that have not expired.

        Raises StoreDenied: the file cannot be used.
        """
        return tuple(key.name for key in self.listed() if not key.is_expired)

    def principal_of(self, credential: str) -> Principal:
        """Return the principal of a key.

        Raises Unauthenticated: the key is unknown or has expired. StoreDenied: the file is damaged,
        cannot be read, or other users may write it; then every key is refused.
        """
        match = _KEY_PATTERN.fullmatch(credential)
        if match is None:
            raise Unauthenticated("There is no such API key.", reason="key: malformed")
        identifier, secret = match.groups()
        key = self._current().get(identifier)
        # Compare a digest for an unknown id too: the response time must not show which ids exist.
        matches = hmac.compare_digest(
            _digest(secret), key.sha256 if key is not None else _DUMMY_DIGEST
        )
        if key is None or not matches:
            raise Unauthenticated(
                "There is no such API key.",
                reason="key: unknown id" if key is None else f"key {key.name}: wrong secret",
            )
        if key.is_expired:
            raise Unauthenticated("There is no such API key.", reason=f"key {key.name}: expired")
        return Principal(
            f"key:{key.name}", key.scope, key.containers, key.datasets, key.collections
        )

    def _current(self) -> dict[str, StoredKey]:
        """Return the keys by id, read again if the file changed.

        A write replaces the file by renaming, so that inode, size and time identify a version.
        """
        version = self._version()
        if version != self._file_version:
            self._keys_by_id = {key.id: key for key in self._read().keys}
            self._file_version = version
        return self._keys_by_id

    def _version(self) -> tuple[int, int, int] | None:
        with os_errors(f"The file of API keys {self._path}"):
            try:
                status = self._path.stat()
            except FileNotFoundError:
                return None
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise StoreDenied(
                f"Other users may write the file of API keys {self._path}.",
                remedy=f"chmod 600 {self._path}, then check geo-platform keys list.",
            )
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _read(self) -> _KeyDocument:
        if self._version() is None:
            return _KeyDocument()
        with os_errors(f"The file of API keys {self._path}"):
            content = self._path.read_bytes()
        try:
            return _KeyDocument.model_validate_json(content)
        except ValidationError as error:
            raise StoreDenied(
                f"The file of API keys {self._path} is damaged: {error.error_count()} errors.",
                remedy="Restore the file, or remove it and create new keys.",
            ) from None

    def _write(self, stored: _KeyDocument) -> None:
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
        ensure_folder(self._path.parent)
        return process_lock(self._path.parent / ".keys.lock")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
