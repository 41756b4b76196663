"""Read what items and kept versions refer to, and find what of it is missing.

`examine.py` reads the stores and confirms what is missing; `leftovers.py` uses the claims to find
what nothing refers to.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from geo_platform.catalog.retention import folder_of
from geo_platform.doctor.findings import DoctorFinding, FindingCode
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
    StoredObject,
    StoredTable,
    TablePlace,
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


_INGEST_AGAIN = (
    "Needs a person: ingest the source again with --force, or restore another version "
    "(geo-platform rollback)."
)


_CANNOT_RESTORE = (
    "A person decides: this version cannot be restored. geo-platform cleanup removes it when its "
    "retention ends."
)


@dataclass
class Missing:
    """What an item, or a kept version of it, misses: names with what is wrong."""

    place: Place
    kept_of: str | None
    objects: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)


class ObjectCheck:
    """Collects the objects of silver, in any order, and returns the claims that none meets."""

    def __init__(self, claims: Claims) -> None:
        self._open = dict(claims.objects)
        self._other: dict[str, list[ObjectClaim]] = {}

    def see(self, stored: StoredObject, *, is_being_replaced: bool = False) -> None:
        """Take one object. Each object is passed once."""
        claims = self._open.pop(stored.reference.key, ())
        if is_being_replaced:
            return
        unmet = [
            claim for claim in claims if claim.kept_of is None and not is_as_claimed(stored, claim)
        ]
        if unmet:
            self._other[stored.reference.key] = unmet

    def missing(self) -> Iterator[Missing]:
        """Yield what is missing, grouped by item and kept version.

        For kept versions only objects that are gone count: a later load of the same source may have
        replaced their content.
        """
        found: dict[tuple[Place, str | None], Missing] = {}
        for says, unmet in (
            ("is gone", self._open),
            ("differs from what the item states", self._other),
        ):
            for key, claims in unmet.items():
                for claim in claims:
                    missing = found.setdefault(
                        (claim.place, claim.kept_of), Missing(claim.place, claim.kept_of)
                    )
                    missing.objects.append(f"{SILVER}/{key} {says}")
        yield from found.values()


def is_as_claimed(stored: StoredObject, claim: ObjectClaim) -> bool:
    """Compare size, and SHA-256 if both sides have one."""
    kept = stored.metadata.get("sha256")
    is_same_size = claim.size_bytes is None or claim.size_bytes == stored.reference.size_bytes
    return is_same_size and (claim.sha256 is None or kept is None or claim.sha256 == kept)


def missing_tables(claims: Claims, tables: Iterable[StoredTable]) -> Iterator[Missing]:
    """Yield what misses its table.

    That is a published item whose table is not live at its version, or a kept version whose table
    is gone.
    """
    live: dict[tuple[str, str], StoredTable] = {}
    whole: set[str] = set()
    for table in tables:
        if table.version is not None:
            whole.add(table.version)
        if table.place is TablePlace.published:
            live[table.schema, table.name] = table
    for version, claimed in claims.tables.items():
        for claim in claimed:
            found = live.get((claim.schema, claim.table))
            fault = _table_fault(claim, found, is_anywhere=version in whole)
            if fault is not None:
                yield Missing(claim.place, claim.kept_of, tables=[fault])


def _table_fault(claim: TableClaim, table: StoredTable | None, *, is_anywhere: bool) -> str | None:
    name = f"{claim.schema}.{claim.table}"
    if claim.kept_of is not None:
        return None if is_anywhere else f"version {claim.version} of {name} is gone"
    if table is None:
        return f"{name} is gone or not the platform's" + (
            f"; version {claim.version} is in another place" if is_anywhere else ""
        )
    if table.version != claim.version:
        return f"{name} has version {table.version}, not {claim.version}"
    return None


def finding_of(missing: Missing) -> Iterator[DoctorFinding]:
    """Yield ITEM_WITHOUT_OBJECT and ITEM_WITHOUT_TABLE for what is missing."""
    item = "/".join(missing.place)
    whose = (
        f"The item {item}"
        if missing.kept_of is None
        else f"The kept version of {item} by run {missing.kept_of}"
    )
    remedy = _INGEST_AGAIN if missing.kept_of is None else _CANNOT_RESTORE
    for code, what, faults in (
        (FindingCode.ITEM_WITHOUT_OBJECT, "objects", missing.objects),
        (FindingCode.ITEM_WITHOUT_TABLE, "a table", missing.tables),
    ):
        if faults:
            yield DoctorFinding(
                code,
                f"item {item}",
                f"{whose} refers to {what} that cannot be used: {_listed(faults)}.",
                remedy,
            )


def _listed(faults: list[str]) -> str:
    shown = "; ".join(sorted(faults)[:5])
    return shown if len(faults) <= 5 else f"{shown}; and {len(faults) - 5} more"
