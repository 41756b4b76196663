"""The collections that an operator has marked public: anybody may read them.

messages/public/collections.json    in the object store, which all servers of a platform share

Called by `api/services.py` and `cli/commands/collections.py`.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock

from geo_platform.contracts.fault import ContractError
from geo_platform.contracts.publication import PublicCollections
from geo_platform.contracts.stored import dump_message, load_message
from geo_platform.errors import (
    Conflict,
    MessageUnreadable,
    ParameterInvalid,
    PlatformError,
    SourceNotFound,
)
from geo_platform.ports import MESSAGES, ObjectStore
from geo_platform.storage.stac_documents import check_id

KEY = "public/collections.json"
# A server reads the list again when it is older. A collection is closed after this time at most.
FRESH_S = 2.0
_MAX_TRIES = 5


class PublicReading:
    """Reads and changes the list. Safe among threads.

    Every method raises StoreUnavailable, StoreDenied: the store does not answer or refuses access.
    MessageUnreadable: the stored list is damaged, or a newer version wrote it.
    """

    def __init__(
        self, objects: ObjectStore, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._objects = objects
        self._now_s = now_s
        self._lock = Lock()
        self._read_s = float("-inf")
        self._names: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        """Return the public collections, as they were at most FRESH_S ago."""
        with self._lock:
            if self._now_s() - self._read_s >= FRESH_S:
                self._names = self.stored()
                self._read_s = self._now_s()
            return self._names

    def is_public(self, collection: str) -> bool:
        """Return whether the collection is public; False also if the list cannot be read."""
        try:
            return collection in self.names()
        except PlatformError:
            return False

    def stored(self) -> tuple[str, ...]:
        """Return the public collections, as they are stored now."""
        try:
            content = self._objects.read_bytes(MESSAGES, KEY)
        except SourceNotFound:
            return ()
        try:
            return load_message(content, PublicCollections).collections
        except ContractError as error:
            raise MessageUnreadable(
                f"{MESSAGES}/{KEY} cannot be read: {error}",
                remedy="Deploy a version that can read it, or delete the object: no collection is "
                "public then.",
            ) from error

    def publish(self, collection: str) -> bool:
        """Mark a collection public, and return whether it was not.

        Raises ParameterInvalid: it is not the id of a collection. Conflict: others change the list.
        """
        check_id(collection)
        return self._change(lambda names: names | {collection})

    def unpublish(self, collection: str) -> None:
        """Make a collection private again. Servers refuse anonymous readers after FRESH_S at most.

        Raises ParameterInvalid: the collection is not public. Conflict: others change the list.
        """
        if not self._change(lambda names: names - {collection}):
            raise ParameterInvalid(
                f"The collection {collection!r} is not public.",
                remedy="See geo-platform collections list.",
            )

    def _change(self, change: Callable[[frozenset[str]], frozenset[str]]) -> bool:
        """Write the changed list, and return whether anything changed."""
        for _ in range(_MAX_TRIES):
            try:
                etag = self._objects.stat(MESSAGES, KEY).reference.etag
            except SourceNotFound:
                etag = ""
            before = frozenset(self.stored())
            after = change(before)
            if after == before:
                return False
            message = PublicCollections(
                collections=tuple(sorted(after)), changed_at_utc=datetime.now(UTC)
            )
            try:
                self._objects.put_bytes(
                    MESSAGES, KEY, dump_message(message), metadata={}, only_if_etag=etag
                )
            except Conflict:
                continue
            return True
        raise Conflict(
            "Others change the list of public collections at the same time.",
            remedy="Give the command again.",
        )
