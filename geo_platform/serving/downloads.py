"""Find the object of an asset, and decide what a conditional request or a range gets of it.

An asset is downloaded as it is stored. Its entity tag has the version of the item and the etag of
the object, so that parts of two contents are never joined, and so that a client that has the
published version is answered without the store.

Used by `api/jobs`, `api/serving`, `cli/commands` and `serving/stac`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from geo_platform.errors import Conflict, NotFound, VersionGone
from geo_platform.ports import (
    ASSET_CONTAINER,
    ASSET_KEY,
    ASSET_TABLE,
    ObjectStore,
    StoredObject,
    stat_or_none,
)
from geo_platform.serving.published import PublishedItem, is_object_of

ALTERNATE_ASSETS = "https://stac-extensions.github.io/alternate-assets/v1.2.0/schema.json"
_PICTURES = {"thumbnail", "overview"}
_DEFAULT_TYPE = "application/octet-stream"
_TAG = re.compile(r'(?:W/)?"([^"]*)"')
_RANGE = re.compile(r"bytes=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE)


@dataclass(frozen=True)
class StoredAsset:
    """An asset of a published item that is an object of the store.

    `document` is the asset in the item. `is_picture`: a browser should show it.
    """

    collection: str
    name: str
    container: str
    key: str
    media_type: str
    file_name: str
    version: str
    document: Mapping[str, Any]
    is_picture: bool

    def etag_of(self, stored: StoredObject) -> str:
        """Return the entity tag (RFC 9110, strong, quoted) of the asset with this object."""
        return f'"{self.version}-{stored.reference.etag}"'

    def known_tag(self, if_none_match: str | None) -> str | None:
        """Return the tag of the header If-None-Match that names this version, or None.

        `*` names every version; a tag without the etag of the object is returned for it.
        """
        if if_none_match is None:
            return None
        if if_none_match.strip() == "*":
            return f'"{self.version}"'
        tags: list[str] = _TAG.findall(if_none_match)
        return next((f'"{tag}"' for tag in tags if tag.startswith(f"{self.version}-")), None)

    @property
    def content_disposition(self) -> str:
        """The header Content-Disposition (RFC 6266), with the name that a client saves under."""
        kind = "inline" if self.is_picture else "attachment"
        if self.file_name.isascii() and not set(self.file_name) & set('"\\%'):
            return f'{kind}; filename="{self.file_name}"'
        return f"{kind}; filename*=UTF-8''{quote(self.file_name, safe='')}"


@dataclass(frozen=True)
class ByteRange:
    """Bytes from `start` to before `end`."""

    start: int
    end: int


class UnsatisfiableRangeError(ValueError):
    """The object has no byte of the range."""


def download_path(collection: str, item_id: str, name: str) -> str:
    """Return the path at which an asset is downloaded from the HTTP API."""
    parts = (quote(part, safe="") for part in (collection, item_id, name))
    return "/stac/collections/{}/items/{}/assets/{}".format(*parts)


def download_paths(
    collection: str, item_id: str, assets: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """Return the path of each asset that is an object of the store, by asset name."""
    return {
        name: download_path(collection, item_id, name)
        for name, asset in assets.items()
        if ASSET_KEY in asset
    }


def with_downloads(item: Mapping[str, Any], api_url: str) -> dict[str, Any]:
    """Return the STAC item with the address of each download in `alternate`.

    Source: the alternate assets extension, https://github.com/stac-extensions/alternate-assets
    """
    paths = download_paths(item["collection"], item["id"], item["assets"])
    assets = dict(item["assets"])
    for name, path in paths.items():
        download = {"href": f"{api_url.rstrip('/')}{path}", "title": "Download from the HTTP API"}
        alternate = {**assets[name].get("alternate", {}), "download": download}
        assets[name] = {**assets[name], "alternate": alternate}
    return {**item, "assets": assets, "stac_extensions": extensions_with(item, assets)}


def extensions_with(item: Mapping[str, Any], assets: Mapping[str, Any]) -> list[str]:
    """Return the extensions of the item with these assets, which may have `alternate`."""
    extensions = list(item.get("stac_extensions") or ())
    has_alternate = any("alternate" in asset for asset in assets.values())
    if has_alternate and ALTERNATE_ASSETS not in extensions:
        extensions.append(ALTERNATE_ASSETS)
    return extensions


def stored_asset(item: PublishedItem, name: str) -> StoredAsset:
    """Return an asset of the item that can be downloaded.

    Raises NotFound: the item has no such asset, or the asset is not an object of the store; for a
    table the remedy says where its rows are.
    """
    asset = item.asset(name)
    container, key = asset.get(ASSET_CONTAINER), asset.get(ASSET_KEY)
    if ASSET_TABLE in asset:
        raise NotFound(
            f"The asset {name!r} of the item {item.item_id!r} is a table, which has no file.",
            remedy="Read its rows at /features/collections.",
        )
    if not isinstance(container, str) or not isinstance(key, str):
        raise NotFound(
            f"The asset {name!r} of the item {item.item_id!r} is not stored by this platform.",
            remedy="Read it at the href that the item has for it.",
        )
    roles = asset.get("roles")
    return StoredAsset(
        collection=item.collection,
        name=name,
        container=container,
        key=key,
        media_type=str(asset.get("type") or _DEFAULT_TYPE),
        file_name=_file_name(item.item_id, name, key),
        version=item.version,
        document=asset,
        is_picture=isinstance(roles, list) and bool(_PICTURES.intersection(map(str, roles))),
    )


def stored_object(asset: StoredAsset, objects: ObjectStore) -> StoredObject:
    """Describe the object of an asset.

    Raises VersionGone: the object was removed. Conflict: it does not have the size or the checksum
    that the item states, since another run has replaced it. StoreUnavailable, StoreDenied: the
    store does not answer or refuses access.
    """
    stored = stat_or_none(objects, asset.container, asset.key)
    if stored is None:
        raise VersionGone(
            f"The file of the asset {asset.name!r} has been removed.",
            remedy="Read the item again. If it still has this asset, tell an operator of the "
            "platform: geo-platform doctor finds what is missing.",
        )
    if not is_object_of(asset.document, stored):
        raise replaced(asset)
    return stored


def replaced(asset: StoredAsset) -> Conflict:
    """Return the error for an object that is not, or not any more, the one of the item."""
    return Conflict(
        f"The file of the asset {asset.name!r} is being replaced.",
        remedy="Read the item again and repeat the request. If it is still refused, submit the "
        "item's source again with force=true.",
    )


def range_of(header: str | None, size_bytes: int) -> ByteRange | None:
    """Return the range that a Range header asks for, or None for the whole object.

    Several ranges, other units and malformed ranges get the whole object, which RFC 9110 (14.2)
    allows.
    Raises UnsatisfiableRangeError: the object has no byte of the range.
    """
    match = _RANGE.fullmatch(header.strip()) if header is not None else None
    if match is None:
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        start, end = max(size_bytes - int(last), 0), size_bytes
    else:
        start, end = int(first), min(int(last) + 1, size_bytes) if last else size_bytes
        if last and int(last) < start:
            return None
    if start >= size_bytes:
        raise UnsatisfiableRangeError
    return ByteRange(start, end)


def is_range_valid(if_range: str | None, etag: str) -> bool:
    """Return whether the header If-Range allows a range of the content with this entity tag.

    A date does not: two contents may have the same second.
    """
    return if_range is None or if_range.strip() == etag


def _file_name(item_id: str, name: str, key: str) -> str:
    """Return the name of the object's file; the item's id is added to the name of a picture."""
    path = PurePosixPath(key)
    return f"{item_id}_{path.name}" if path.stem == name else path.name
