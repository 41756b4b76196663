"""Read from the catalog which objects, tables and sources the items and kept versions refer to.

`items.py` and `leftovers.py` compare these claims with the stores.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from geo_platform.catalog.retention import folder_of
from geo_platform.errors import CatalogRejected
from geo_platform.ports import (
    ASSET_CONTAINER,
    ASSET_KEY,
    ASSET_SCHEMA,
    ASSET_TABLE,
    ASSET_TABLE_VERSION,
    ITEM_SOURCE,
    ITEM_SOURCES,
    SILVER,
    Catalog,
)

Item = Mapping[str, Any]
Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ObjectClaim:
    """The size and SHA-256 that an item states for an object.

    `place` is (collection, item id). `kept_of` is the run of a kept version; None for the
    published item.
    """

    place: Place
    size_bytes: int | None
    sha256: str | None
    kept_of: str | None = None


@dataclass(frozen=True, slots=True)
class TableClaim:
    """The version of the table `schema`.`table` that an item refers to. See `ObjectClaim`."""

    place: Place
    schema: str
    table: str
    version: str
    kept_of: str | None = None


@dataclass
class Claims:
    """Everything that items and kept versions refer to.

    `objects` maps keys of silver, `tables` maps table versions. `unreadable` has a message for each
    document that could not be read.
    """

    objects: dict[str, list[ObjectClaim]] = field(default_factory=dict)
    tables: dict[str, list[TableClaim]] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)
    places: set[Place] = field(default_factory=set)
    unreadable: list[str] = field(default_factory=list)
    items: int = 0
    versions: int = 0

    def add(self, place: Place, item: Item, *, kept_of: str | None = None) -> None:
        """Add what one item, or one kept version of it, refers to."""
        self.places.add(place)
        self.sources.update(sources_of(item))
        for asset in item["assets"].values():
            if asset.get(ASSET_CONTAINER) == SILVER and ASSET_KEY in asset:
                key = str(asset[ASSET_KEY])
                claim = ObjectClaim(place, asset.get("file:size"), _sha256(asset), kept_of)
                self.objects.setdefault(key, []).append(claim)
                self.folders.update(filter(None, [folder_of(key)]))
            if ASSET_TABLE_VERSION in asset:
                version = str(asset[ASSET_TABLE_VERSION])
                table = TableClaim(
                    place, str(asset[ASSET_SCHEMA]), str(asset[ASSET_TABLE]), version, kept_of
                )
                self.tables.setdefault(version, []).append(table)


def read_claims(catalog: Catalog, *, into: Claims | None = None) -> Claims:
    """Return the claims of all published items and kept versions, added to `into` if given.

    A document that cannot be read goes to `unreadable` and is not raised.
    """
    claims = into if into is not None else Claims()
    try:
        for entry in catalog.entries():
            claims.add((entry.collection, entry.item_id), entry.item)
            claims.items += 1
    except CatalogRejected as error:
        claims.unreadable.append(error.message)
    try:
        for version in catalog.versions():
            claims.add((version.collection, version.item_id), version.item, kept_of=version.run_id)
            claims.versions += 1
    except CatalogRejected as error:
        claims.unreadable.append(error.message)
    return claims


def read_claims_twice(catalog: Catalog) -> Claims:
    """Read the catalog twice: an item that changes during one read is in the other."""
    return read_claims(catalog, into=read_claims(catalog))


def sources_of(item: Item) -> Iterator[str]:
    """Yield the keys of an item's source objects."""
    properties = item["properties"]
    if ITEM_SOURCE in properties:
        yield str(properties[ITEM_SOURCE])
    for source in properties.get(ITEM_SOURCES, ()):
        yield str(source.get("source"))


def _sha256(asset: Item) -> str | None:
    # A multihash in hex: 12 (SHA-256), 20 (32 bytes), then the digest.
    checksum = asset.get("file:checksum")
    return str(checksum)[4:] if checksum is not None else None
