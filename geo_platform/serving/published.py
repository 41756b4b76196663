"""Find published items for readers, and name their versions.

An address may name the version of an item. It is then never answered with another version.

Used throughout the application.
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from geo_platform.errors import NotFound, ParameterInvalid, VersionGone
from geo_platform.ports import (
    ITEM_FINGERPRINT,
    ITEM_RESTORED_BY,
    ITEM_RUN_ID,
    Catalog,
    StoredObject,
)
from geo_platform.serving.rights import Rights

# How long an item is remembered for addresses that name its version. After an item is replaced or
# unpublished, such an address is answered for at most this long, with its own version.
REMEMBERED_S = 5.0
MAX_REMEMBERED = 1000
# Raise it when the same item is drawn or written in another way: caches keep what they have for a
# version for ever.
SERVING_RECIPE = 2
# The multihash prefix of sha2-256 in `file:checksum`.
_SHA2_256 = "1220"


@dataclass(frozen=True)
class PublishedItem:
    """A published item. `document` is its STAC JSON with absolute hrefs.

    `version` is 16 hex digits. It changes whenever the item is published again or restored.
    """

    collection: str
    item_id: str
    version: str
    document: Mapping[str, Any]

    @property
    def properties(self) -> Mapping[str, Any]:
        return self.document["properties"]  # type: ignore[no-any-return]  # STAC JSON

    def asset(self, name: str) -> Mapping[str, Any]:
        """Return an asset of the item.

        Raises NotFound: the item has no such asset; the message names those it has.
        """
        assets = self.document["assets"]
        if name not in assets:
            raise NotFound(
                f"The item {self.item_id!r} has no asset {name!r}.",
                remedy=f"Choose one of its assets: {', '.join(assets) or 'it has none'}.",
            )
        return assets[name]  # type: ignore[no-any-return]  # STAC JSON


class PublishedItems:
    """Reads items from the catalog. Safe among threads."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._remembered: dict[tuple[str, str, str], tuple[float, PublishedItem]] = {}
        self._lock = Lock()

    def item(
        self, collection: str, item_id: str, rights: Rights, *, version: str | None = None
    ) -> PublishedItem:
        """Return a published item that the caller may read.

        `version` is the version that the caller's address names, if it names one.
        Raises NotFound: no such item is published, or the caller may not read it. VersionGone: the
        item has another version now. StoreUnavailable, DatabaseUnavailable, StoreDenied: the
        catalog cannot be read. CatalogRejected: the stored document is damaged.
        """
        found = self._recall(collection, item_id, version) or self._read(collection, item_id)
        if found is None or not rights.allows(found.document):
            raise NotFound(
                f"There is no item {item_id!r} in the collection {collection!r}.",
                remedy="Check both ids: GET /stac/search lists the items that you may read.",
            )
        if version is not None and version != found.version:
            raise VersionGone(f"The item {item_id!r} has been replaced: {version} is not current.")
        return found

    def _recall(self, collection: str, item_id: str, version: str | None) -> PublishedItem | None:
        if version is None:
            return None
        with self._lock:
            until, item = self._remembered.get((collection, item_id, version), (0.0, None))
        return item if time.monotonic() < until else None

    def _read(self, collection: str, item_id: str) -> PublishedItem | None:
        try:
            document = self._catalog.item(collection, item_id)
        except ParameterInvalid:
            return None  # No item can have such an id.
        if document is None:
            return None
        item = PublishedItem(collection, item_id, version_of(document), document)
        with self._lock:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[collection, item_id, item.version] = (
                time.monotonic() + REMEMBERED_S,
                item,
            )
        return item


def version_of(document: Mapping[str, Any]) -> str:
    """Return the version of an item: 16 hex digits, the same for the same publication.

    They are a digest of the item's fingerprint, of the run that published it, of the run that
    restored it, of when it was updated, and of how it is served (`SERVING_RECIPE`).
    """
    properties = document["properties"]
    names = (ITEM_FINGERPRINT, ITEM_RUN_ID, ITEM_RESTORED_BY, "updated")
    text = json.dumps([SERVING_RECIPE, *(properties.get(name) for name in names)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_object_of(asset: Mapping[str, Any], stored: StoredObject) -> bool:
    """Return whether an object has the size and the checksum that an asset of an item states.

    The checksum is that of the object's metadata, so that the object is not read. What the asset or
    the object does not state is not compared.
    """
    checksum = str(asset.get("file:checksum", "")).removeprefix(_SHA2_256)
    has_size = asset.get("file:size") in (None, stored.reference.size_bytes)
    return has_size and (not checksum or stored.metadata.get("sha256", checksum) == checksum)
