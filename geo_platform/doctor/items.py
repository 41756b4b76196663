"""Compare items with the objects and tables that they refer to.

Pure functions; `examine.py` reads the stores and confirms what is missing.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from geo_platform.doctor.claims import Claims, ObjectClaim, Place, TableClaim
from geo_platform.doctor.findings import DoctorFinding, FindingCode
from geo_platform.ports import SILVER, StoredObject, StoredTable, TablePlace

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
