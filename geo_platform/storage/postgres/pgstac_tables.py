"""Which tables move when an item is published or taken away. Decided here, before anything is moved.

What belongs here: what an item's assets name, what a table is by its place and comment, the rules of replacing; pure. What
stays out: asking the database, and moving (`pgstac_moves.py`).

    geo_staging."<version>"  --publish-->  <schema>.<table>  --replaced, unpublished-->  geo_replaced."<version>"
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from geo_platform.errors import Conflict
from geo_platform.ports import ASSET_SCHEMA, ASSET_TABLE, ASSET_TABLE_VERSION
from geo_platform.storage.postgres.names import REPLACED_SCHEMA, STAGING_SCHEMA
from geo_platform.storage.stac_documents import Document

APPEND, REPLACE = "append", "replace"


@dataclass(frozen=True)
class TableVersion:
    """A version of a published table, as an item's asset names it. `version` is its name while it is staged or replaced."""

    schema: str
    table: str
    version: str

    @property
    def name(self) -> str:
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True)
class Relation:
    """A table as it lies there. `says` is its comment, where that is the platform's; None where the table is somebody else's."""

    schema: str
    name: str
    says: dict[str, Any] | None

    @property
    def version(self) -> str | None:
        return None if self.says is None else str(self.says["version"])


@dataclass(frozen=True)
class Places:
    """What lies where a table version is or would be published, and where that version itself lies besides."""

    meant: TableVersion
    live: Relation | None
    staged: Relation | None
    replaced: Relation | None

    @property
    def is_live(self) -> bool:
        """The very version that is meant is the published one."""
        return self.live is not None and self.live.version == self.meant.version


@dataclass(frozen=True)
class Move:
    """One table's way from a schema and name to another."""

    schema: str
    name: str
    to_schema: str
    to_name: str


def tables_of(item: Document | None) -> tuple[TableVersion, ...]:
    """What the item's assets name, in order of name."""
    assets = item["assets"].values() if item is not None else ()
    named = {
        TableVersion(
            str(asset[ASSET_SCHEMA]), str(asset[ASSET_TABLE]), str(asset[ASSET_TABLE_VERSION])
        )
        for asset in assets
        if ASSET_TABLE_VERSION in asset
    }
    return tuple(sorted(named, key=lambda table: (table.name, table.version)))


def read_comment(comment: str | None) -> dict[str, Any] | None:
    """What a comment of the platform says; None for any other."""
    try:
        says = json.loads(comment or "")
    except ValueError:
        return None
    return says if isinstance(says, dict) and isinstance(says.get("version"), str) else None


def places_of(meant: TableVersion, found: Sequence[Relation]) -> Places:
    """Sort what was found by where it lies."""
    live = next(
        (
            relation
            for relation in found
            if (relation.schema, relation.name) == (meant.schema, meant.table)
        ),
        None,
    )
    staged, replaced = (
        next(
            (
                relation
                for relation in found
                if (relation.schema, relation.name) == (schema, meant.version)
            ),
            None,
        )
        for schema in (STAGING_SCHEMA, REPLACED_SCHEMA)
    )
    return Places(meant, live, staged, replaced)


def plan_publication(
    places: Places, *, replaced: Sequence[TableVersion], run_id: str
) -> tuple[Move, ...]:
    """The moves that make the version that is meant the published one; none where it is already.

    `replaced` are the tables of the item that is replaced, and was allowed to be: with it go its tables. Raises Conflict.
    """
    if places.is_live:
        return ()
    coming = places.staged or places.replaced
    if coming is None:
        raise Conflict(
            f"Version {places.meant.version} of the table {places.meant.name} is not in the database any more.",
            remedy="Ingest the source again, with force.",
        )
    _check_may_replace(places, coming, replaced)
    leaving = () if places.live is None else (_move_out(places.live, run_id),)
    return (*leaving, Move(coming.schema, coming.name, places.meant.schema, places.meant.table))


def plan_withdrawal(places: Places) -> tuple[Move, ...]:
    """The move that takes the published version away; none where another one is published, or it was moved by hand."""
    if places.live is None or not places.is_live:
        return ()
    return (Move(places.live.schema, places.live.name, REPLACED_SCHEMA, places.meant.version),)


def _check_may_replace(places: Places, coming: Relation, replaced: Sequence[TableVersion]) -> None:
    live, says = places.live, coming.says or {}
    is_staged = coming.schema == STAGING_SCHEMA
    if is_staged and says.get("load_mode") == APPEND:
        # Rows that were published or taken away since then are not among its own, whatever source they came from.
        _check_base(places, says.get("base_version"))
    elif live is None or (is_staged and says.get("load_mode") == REPLACE):
        return
    elif not is_staged and any(
        (table.name, table.version) == (places.meant.name, live.version) for table in replaced
    ):
        return  # with the item goes its table, and an earlier one's comes back
    elif live.says is None:
        raise Conflict(
            f"The table {places.meant.name} is there and was not made by the platform.",
            remedy="Choose another table_name, or set load_mode replace.",
        )
    elif live.says.get("source_uri") != says.get("source_uri"):
        raise Conflict(
            f"The table {places.meant.name} came from {live.says.get('source_uri')}, not from {says.get('source_uri')}.",
            remedy="Choose another table_name, or unpublish that item first.",
        )


def _check_base(places: Places, base_version: str | None) -> None:
    live_version = places.live.version if places.live is not None else None
    if live_version != base_version or (places.live is not None and places.live.says is None):
        raise Conflict(
            f"The rows were added to {base_version or 'no version'} of the table {places.meant.name}, and another is published now.",
            remedy="Another run published or unpublished it in the meantime; submit again.",
        )


def _move_out(live: Relation, run_id: str) -> Move:
    """Ours under its version; somebody else's under a name that says when it went."""
    return Move(
        live.schema,
        live.name,
        REPLACED_SCHEMA,
        live.version or f"{live.name[:40]}_unmanaged_{run_id[:8]}",
    )
