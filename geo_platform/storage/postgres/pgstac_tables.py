"""Plan and do the moves of tables between schemas when an item is published or unpublished.

    geo_staging."<version>"  --publish-->             <schema>.<table>
    <schema>.<table>         --replace, unpublish-->  geo_replaced."<version>"

A move is a rename of the table, which copies no rows. Moves are planned without a database, and
done in the transaction that publishes the item (`pgstac_publication.py`). The live table is the
table that has the published name now.

Called by `pgstac_publication.py`, `pgstac_writes.py` and `postgis_live.py`.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from geo_platform.errors import CatalogRejected, Conflict, DatabaseUnavailable
from geo_platform.ports import ASSET_SCHEMA, ASSET_TABLE, ASSET_TABLE_VERSION
from geo_platform.sql import statement
from geo_platform.storage.postgres.names import READER_ROLE, REPLACED_SCHEMA, STAGING_SCHEMA
from geo_platform.storage.stac_documents import Document

APPEND, REPLACE = "append", "replace"

_PRIVILEGES = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"}
)


@dataclass(frozen=True)
class TableVersion:
    """A version of a published table, as an item's asset names it.

    `version` is the table's name while it is staged or replaced.
    """

    schema: str
    table: str
    version: str

    @property
    def name(self) -> str:
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True)
class Relation:
    """A table in the database.

    `comment` is the platform's comment on it, parsed; None if the platform did not make the table.
    """

    schema: str
    name: str
    comment: dict[str, Any] | None

    @property
    def version(self) -> str | None:
        return None if self.comment is None else str(self.comment["version"])


@dataclass(frozen=True)
class Places:
    """The table version `wanted`, the tables that hold it, and the live table.

    `live` is the table that has the published name; it may be another version, or a table that the
    platform did not make. `staged` and `replaced` are the table of the wanted version, if it is in
    the schema of staged or replaced tables.
    """

    wanted: TableVersion
    live: Relation | None
    staged: Relation | None
    replaced: Relation | None

    @property
    def is_live(self) -> bool:
        """Return whether the wanted version is the live table."""
        return self.live is not None and self.live.version == self.wanted.version


@dataclass(frozen=True)
class Move:
    """A table's move from one schema and name to another."""

    schema: str
    name: str
    to_schema: str
    to_name: str


def tables_of(item: Document | None) -> tuple[TableVersion, ...]:
    """Return the tables that the item's assets name, sorted, without duplicates."""
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
    """Parse the platform's comment on a table; return None for any other comment."""
    try:
        parsed = json.loads(comment or "")
    except ValueError:
        return None
    is_own = isinstance(parsed, dict) and isinstance(parsed.get("version"), str)
    return parsed if is_own else None


def places_of(wanted: TableVersion, relations: Sequence[Relation]) -> Places:
    """Assign tables of the database to the places of a table version."""
    live = next(
        (
            relation
            for relation in relations
            if (relation.schema, relation.name) == (wanted.schema, wanted.table)
        ),
        None,
    )
    staged, replaced = (
        next(
            (
                relation
                for relation in relations
                if (relation.schema, relation.name) == (schema, wanted.version)
            ),
            None,
        )
        for schema in (STAGING_SCHEMA, REPLACED_SCHEMA)
    )
    return Places(wanted, live, staged, replaced)


def plan_publication(
    places: Places, *, replaced: Sequence[TableVersion], run_id: str
) -> tuple[Move, ...]:
    """Return the moves that publish the wanted version, or no move if it is the live table.

    `replaced` are the tables of the item that is replaced: a restored version may replace these
    even if they came from another source.
    Raises Conflict: the version is not in the database, or may not replace the live table.
    """
    if places.is_live:
        return ()
    coming = places.staged or places.replaced
    if coming is None:
        raise Conflict(
            f"Version {places.wanted.version} of the table {places.wanted.name} is not in the "
            "database any more.",
            remedy="Ingest the source again, with force=true.",
        )
    _check_may_replace(places, coming, replaced)
    leaving = () if places.live is None else (_move_out(places.live, run_id),)
    return (*leaving, Move(coming.schema, coming.name, places.wanted.schema, places.wanted.table))


def plan_withdrawal(places: Places) -> tuple[Move, ...]:
    """Return the move that unpublishes the wanted version, or none if it is not the live table."""
    if places.live is None or not places.is_live:
        return ()
    return (Move(places.live.schema, places.live.name, REPLACED_SCHEMA, places.wanted.version),)


def _check_may_replace(places: Places, coming: Relation, replaced: Sequence[TableVersion]) -> None:
    live, comment = places.live, coming.comment or {}
    is_staged = coming.schema == STAGING_SCHEMA
    if is_staged and comment.get("load_mode") == APPEND:
        # The staged table contains the rows of the version that was live when they were copied. If
        # another version is live now, its changes would be lost.
        _check_base(places, comment.get("base_version"))
    elif live is None or (is_staged and comment.get("load_mode") == REPLACE):
        return
    elif not is_staged and any(
        (table.name, table.version) == (places.wanted.name, live.version) for table in replaced
    ):
        return  # A rollback replaces the item together with its table.
    elif live.comment is None:
        raise Conflict(
            f"The table {places.wanted.name} exists and was not made by the platform.",
            remedy="Choose another table_name, or set load_mode=replace.",
        )
    elif live.comment.get("source_uri") != comment.get("source_uri"):
        raise Conflict(
            f"The table {places.wanted.name} came from {live.comment.get('source_uri')}, "
            f"not from {comment.get('source_uri')}.",
            remedy="Choose another table_name, or unpublish that item first.",
        )


def _check_base(places: Places, base_version: str | None) -> None:
    live_version = places.live.version if places.live is not None else None
    if live_version != base_version or (places.live is not None and places.live.comment is None):
        raise Conflict(
            f"The rows were appended to {base_version or 'no version'} of the table "
            f"{places.wanted.name}, but another version is published now.",
            remedy="Another run published or unpublished the table meanwhile. "
            "Submit the job again.",
        )


def _move_out(live: Relation, run_id: str) -> Move:
    """Return the move of a live table to the schema of replaced tables."""
    # A table that the platform did not make has no version, and gets a name with the run's id.
    return Move(
        live.schema,
        live.name,
        REPLACED_SCHEMA,
        live.version or f"{live.name[:40]}_unmanaged_{run_id[:8]}",
    )


def find_places(connection: psycopg.Connection, wanted: TableVersion) -> Places:
    """Look up the tables of a version, and the live table of its name. Raises psycopg.Error."""
    parameters = {"schema": wanted.schema, "table": wanted.table, "version": wanted.version}
    rows = connection.execute(
        statement("table_places"),
        {**parameters, "staging": STAGING_SCHEMA, "replaced": REPLACED_SCHEMA},
    )
    return places_of(
        wanted, [Relation(schema, name, read_comment(comment)) for schema, name, comment in rows]
    )


def move_tables(
    connection: psycopg.Connection, moves: Sequence[Move], *, published: Iterable[TableVersion]
) -> None:
    """Do the moves, and check that the versions `published` are live afterwards.

    Tables leave the published schemas before others enter them. A role that had rights on a
    replaced table gets the same rights on the new table.
    Raises CatalogRejected: a version is not live afterwards. DatabaseUnavailable: readers hold a
    table for longer than the transaction's lock_timeout.
    """
    grants = {
        (move.schema, move.name): _grants(connection, move)
        for move in moves
        if move.to_schema == REPLACED_SCHEMA
    }
    for move in sorted(moves, key=lambda move: move.to_schema != REPLACED_SCHEMA):
        _move(connection, move)
    for table in published:
        target = sql.Identifier(table.schema, table.table)
        for role, privilege in [
            (READER_ROLE, "SELECT"),
            *grants.get((table.schema, table.table), ()),
        ]:
            grantee = sql.SQL("PUBLIC") if role is None else sql.Identifier(role)
            connection.execute(
                sql.SQL("GRANT {} ON TABLE {} TO {}").format(sql.SQL(privilege), target, grantee)
            )
        if not find_places(connection, table).is_live:
            raise CatalogRejected(
                f"The table {table.name} is not at version {table.version} after the move."
            )


def drop_replaced(connection: psycopg.Connection, table: TableVersion) -> None:
    """Drop the table of a replaced version.

    Raises Conflict: a view or a foreign key depends on the table. psycopg.Error: the table does not
    exist, or is locked.
    """
    try:
        connection.execute(
            sql.SQL("DROP TABLE {}").format(sql.Identifier(REPLACED_SCHEMA, table.version))
        )
    except psycopg.errors.DependentObjectsStillExist as error:
        reason = error.diag.message_detail or "another object depends on it"
        raise Conflict(
            f"Version {table.version} of the table {table.name} cannot be removed: {reason}.",
            remedy="Create the view again on the published table, then try again.",
        ) from error


def _move(connection: psycopg.Connection, move: Move) -> None:
    # Renaming locks the table until the transaction ends. Readers wait for the commit, and then see
    # the new table.
    place = sql.Identifier(move.schema, move.name)
    renamed = sql.Identifier(move.schema, move.to_name)
    try:
        if move.name != move.to_name:
            connection.execute(
                sql.SQL("ALTER TABLE {} RENAME TO {}").format(place, sql.Identifier(move.to_name))
            )
        connection.execute(
            sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(renamed, sql.Identifier(move.to_schema))
        )
    except psycopg.errors.LockNotAvailable as error:
        raise DatabaseUnavailable(
            f"The table {move.schema}.{move.name} is being read, and could not be replaced.",
            remedy="The platform retries. End the long queries that read the table.",
            sqlstate=error.sqlstate,
            schema=move.schema,
            table=move.name,
        ) from error


def _grants(connection: psycopg.Connection, move: Move) -> list[tuple[str | None, str]]:
    rows = connection.execute(
        statement("table_grants"), {"schema": move.schema, "table": move.name}
    )
    return [(role, privilege) for role, privilege in rows if privilege in _PRIVILEGES]
