"""Claims: the objects and tables to which items and kept versions refer. Find missing ones.

A kept version is a replaced or unpublished version of an item that can still be restored.
`examine.py` reads the stores and confirms that an object or table is missing. `leftovers.py` finds
the objects and tables that no claim names.

Called by `examine.py`, `leftovers.py` and `mend.py`.
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
    """An item refers to an object, with this size and SHA-256.

    `place` is (collection, item id). `kept_of` is the run that published a kept version; it is None
    for the item that is published now.
    """

    place: Place
    size_bytes: int | None
    sha256: str | None
    kept_of: str | None = None


@dataclass(frozen=True, slots=True)
class TableClaim:
    """An item refers to this version of the table `schema`.`table`.

    `place` and `kept_of` are as in `ObjectClaim`.
    """

    place: Place
    schema: str
    table: str
    version: str
    kept_of: str | None = None


@dataclass
class Claims:
    """All claims of items and kept versions.

    `objects` has the claims by key in the container silver, `tables` by table version. `folders`
    are the folders in silver with claimed objects, `sources` the keys of source objects, `places`
    the (collection, item id) of all items. `unreadable` has a message for each document that could
    not be read. `items` and `versions` count the documents.
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
        """Add the claims of an item, or of a kept version. `kept_of` is the version's run."""
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
    """Return the claims of all published items and kept versions; add them to `into` if given.

    A document that cannot be read is recorded in `unreadable`. Raises StoreUnavailable,
    StoreDenied, DatabaseUnavailable: the catalog does not answer or refuses access.
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
    """Read the claims twice and join them: an item that one read misses is in the other.

    Raises as `read_claims`: the catalog does not answer or refuses access.
    """
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
    "A person has to decide: this version cannot be restored. geo-platform cleanup removes it when "
    "its retention ends."
)


@dataclass
class Missing:
    """The missing or wrong objects and tables of an item or kept version, with the reasons."""

    place: Place
    kept_of: str | None
    objects: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)


class ObjectCheck:
    """Takes the objects of silver in any order, and yields the claims that no object fulfils."""

    def __init__(self, claims: Claims) -> None:
        self._without_object = dict(claims.objects)
        self._with_other_content: dict[str, list[ObjectClaim]] = {}

    def add(self, stored: StoredObject, *, is_being_replaced: bool = False) -> None:
        """Compare an object with its claims. Pass each object once.

        The content of an object that a run is replacing is not compared.
        """
        claims = self._without_object.pop(stored.reference.key, ())
        if is_being_replaced:
            return
        unmet = [
            claim for claim in claims if claim.kept_of is None and not is_as_claimed(stored, claim)
        ]
        if unmet:
            self._with_other_content[stored.reference.key] = unmet

    def missing(self) -> Iterator[Missing]:
        """Yield the missing objects, grouped by item and kept version.

        An object with other content counts only for the published item: a later load of the same
        source may have replaced the content of a kept version.
        """
        by_item: dict[tuple[Place, str | None], Missing] = {}
        for reason, unmet in (
            ("is gone", self._without_object),
            ("differs from what the item states", self._with_other_content),
        ):
            for key, claims in unmet.items():
                for claim in claims:
                    missing = by_item.setdefault(
                        (claim.place, claim.kept_of), Missing(claim.place, claim.kept_of)
                    )
                    missing.objects.append(f"{SILVER}/{key} {reason}")
        yield from by_item.values()


def is_as_claimed(stored: StoredObject, claim: ObjectClaim) -> bool:
    """Return whether the object has the claimed size, and the claimed SHA-256 if both have one."""
    stored_sha256 = stored.metadata.get("sha256")
    is_same_size = claim.size_bytes is None or claim.size_bytes == stored.reference.size_bytes
    return is_same_size and (
        claim.sha256 is None or stored_sha256 is None or claim.sha256 == stored_sha256
    )


def missing_tables(claims: Claims, tables: Iterable[StoredTable]) -> Iterator[Missing]:
    """Yield the published items whose table is not published in the claimed version, and the kept
    versions whose table is gone.
    """
    published: dict[tuple[str, str], StoredTable] = {}
    versions: set[str] = set()
    for table in tables:
        if table.version is not None:
            versions.add(table.version)
        if table.place is TablePlace.published:
            published[table.schema, table.name] = table
    for version, table_claims in claims.tables.items():
        for claim in table_claims:
            live_table = published.get((claim.schema, claim.table))
            fault = _table_fault(claim, live_table, is_anywhere=version in versions)
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
    """Yield ITEM_WITHOUT_OBJECT for missing objects, ITEM_WITHOUT_TABLE for missing tables."""
    item = "/".join(missing.place)
    owner = (
        f"The item {item}"
        if missing.kept_of is None
        else f"The kept version of {item} by run {missing.kept_of}"
    )
    remedy = _INGEST_AGAIN if missing.kept_of is None else _CANNOT_RESTORE
    for code, noun, faults in (
        (FindingCode.ITEM_WITHOUT_OBJECT, "objects", missing.objects),
        (FindingCode.ITEM_WITHOUT_TABLE, "a table", missing.tables),
    ):
        if faults:
            yield DoctorFinding(
                code,
                f"item {item}",
                f"{owner} refers to {noun} that cannot be used: {_listed(faults)}.",
                remedy,
            )


def _listed(faults: list[str]) -> str:
    text = "; ".join(sorted(faults)[:5])
    return text if len(faults) <= 5 else f"{text}; and {len(faults) - 5} more"
