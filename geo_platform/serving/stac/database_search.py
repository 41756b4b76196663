"""Search pgSTAC under the rights of a caller.

pgSTAC's functions translate the search into SQL, and read month after month until a page is full.
Its function `search` is not used: it keeps counts that the rights would change, and its page tokens
are lost with the item that they name.

Called by `stac_reader.py`.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from geo_platform.errors import QueryInvalid
from geo_platform.serving.reader_pool import ReaderPool
from geo_platform.serving.rights import Rights
from geo_platform.serving.stac.area import geometry_document
from geo_platform.serving.stac.free_text import postgres_pattern
from geo_platform.serving.stac.interval import EARLIEST, LATEST
from geo_platform.serving.stac.item_source import MAX_COUNTED, ItemPage, PropertyTypes
from geo_platform.serving.stac.page_token import PagePlace, read_token
from geo_platform.serving.stac.pgstac_cql2 import for_pgstac
from geo_platform.serving.stac.request import ItemSearch, SortKey
from geo_platform.serving.stac.rights_sql import rights_condition
from geo_platform.sql import statement
from geo_platform.storage.postgres.pgstac_documents import read_item
from geo_platform.storage.postgres.pgstac_transaction import catalog_errors
from geo_platform.storage.stac_documents import union

# Items of each collection whose properties are read for the queryables.
SAMPLED_ITEMS = 2_000
_REMEMBERED_S = 10.0
_COLUMNS = {"datetime": "timestamptz", "collection": "text", "id": "text"}
_TRUE = sql.SQL("TRUE")
# The request's values cannot be used: raised by pgSTAC, or a value of the wrong type.
_REFUSED = ("P0001", "22", "42804", "42883", "54", "XX000")


class DatabaseSearch:
    """Implements `ItemSource` on pgSTAC. Safe among threads."""

    def __init__(self, pool: ReaderPool, *, seconds: float) -> None:
        self._pool = pool
        self._seconds = seconds
        self._extents: dict[Rights, tuple[float, dict[str, Any]]] = {}

    def page(self, search: ItemSearch, rights: Rights) -> ItemPage:
        place = read_token(search.token, search.digest, len(search.sort)) if search.token else None
        with self._reading() as connection:
            condition = _condition(connection, search, _allowed(connection, rights))
            rows = connection.execute(
                statement(
                    "search_page",
                    values=sql.SQL(", ").join(
                        sql.SQL("({})::text").format(_expression(key)) for key in search.sort
                    ),
                ),
                {
                    "condition": _text(
                        condition if place is None else _after(search.sort, place, condition),
                        connection,
                    ),
                    "order": _text(_order(search.sort), connection),
                    "rows": search.limit + 1,
                },
            ).fetchall()
            if place is not None:
                matched = place.matched
            elif len(rows) <= search.limit:
                matched = len(rows)
            else:
                matched = _count(connection, condition)
        items = tuple(read_item(text, nulls) for text, nulls, _ in rows[: search.limit])
        token = None
        if len(rows) > search.limit:
            token = PagePlace(tuple(rows[search.limit - 1][2]), matched).token(search.digest)
        return ItemPage(items, token, matched)

    def collections(self, rights: Rights) -> list[dict[str, Any]]:
        with self._reading() as connection:
            allowed = _allowed(connection, rights)
            rows = connection.execute(
                statement("search_collections", condition=allowed or _TRUE)
            ).fetchall()
            documents = [{"links": [], **json.loads(text)} for (text,) in rows]
            if not (rights.containers or rights.datasets):
                return documents  # The stored extents are those of whole collections.
            extents = self._extents_of(connection, rights, allowed or _TRUE)
        return [
            {**document, "extent": extents.get(document["id"], union(()))} for document in documents
        ]

    def property_types(self, rights: Rights, collections: Sequence[str] | None) -> PropertyTypes:
        wanted = [
            document["id"]
            for document in self.collections(rights)
            if collections is None or document["id"] in collections
        ]
        with self._reading() as connection:
            rows = connection.execute(
                statement(
                    "search_properties",
                    condition=_allowed(connection, rights) or _TRUE,
                    collections=sql.Literal(wanted),
                    rows=sql.Literal(SAMPLED_ITEMS + 1),
                )
            ).fetchall()
        return PropertyTypes(
            {name: frozenset(types) for name, types, _ in rows},
            is_complete=all(read <= SAMPLED_ITEMS for _, _, read in rows[:1]),
        )

    def close(self) -> None:
        self._pool.close()

    def _extents_of(
        self, connection: psycopg.Connection, rights: Rights, allowed: sql.Composable
    ) -> dict[str, Any]:
        until, extents = self._extents.get(rights, (0.0, {}))
        if time.monotonic() < until:
            return extents
        of_items: dict[str, list[dict[str, Any]]] = {}
        for collection, bbox, start, end in connection.execute(
            statement("search_extents", condition=allowed)
        ):
            box = json.loads(bbox) if bbox else None
            of_items.setdefault(collection, []).append(
                {
                    "spatial": {"bbox": [box] if box else []},
                    "temporal": {"interval": [[start, end]]},
                }
            )
        extents = {collection: union(each) for collection, each in of_items.items()}
        if len(self._extents) > 100:
            self._extents.clear()
        self._extents[rights] = (time.monotonic() + _REMEMBERED_S, extents)
        return extents

    @contextmanager
    def _reading(self) -> Iterator[psycopg.Connection]:
        with catalog_errors(self._pool.database):
            try:
                with self._pool.reading(seconds=self._seconds) as connection:
                    yield connection
            except psycopg.Error as error:
                if not (error.sqlstate or "").startswith(_REFUSED):
                    raise
                # The database's text may quote a value of an item, so it is left out.
                raise QueryInvalid(
                    "The search compares a property with a value of another type, or its filter "
                    "or token cannot be evaluated.",
                    remedy="GET /stac/queryables has the type of each property.",
                ) from error


def _allowed(connection: psycopg.Connection, rights: Rights) -> sql.Composable | None:
    if not rights.is_limited:
        return None
    names = [row[0] for row in connection.execute("SELECT id FROM collections")]
    return rights_condition(rights, names)


def _condition(
    connection: psycopg.Connection, search: ItemSearch, allowed: sql.Composable | None
) -> sql.Composable:
    row = connection.execute(
        statement("search_where"),
        {
            "search": json.dumps(_pgstac_search(search)),
            "filter": None if search.filter is None else json.dumps(for_pgstac(search.filter)),
            "collections": None if search.collections is None else list(search.collections),
        },
    ).fetchone()
    where, filtered = row or (None, None)
    conditions: list[sql.Composable] = [_sql(where)] if where else []
    own = [_sql(filtered)] if filtered else []
    own.extend(_text_condition(search.terms))
    if allowed is not None:
        conditions.append(allowed)
        # CASE decides the order: a filter is not evaluated for an item that the caller may not
        # see, since its error would tell of it.
        own = [sql.SQL("CASE WHEN {} THEN ({}) END").format(allowed, each) for each in own]
    conditions.extend(own)
    return sql.SQL(" AND ").join(sql.SQL("({})").format(each) for each in conditions or [_TRUE])


def _pgstac_search(search: ItemSearch) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if search.ids is not None:
        body["ids"] = search.ids
    if search.collections is not None:
        body["collections"] = search.collections
    if search.area is not None:
        body["intersects"] = geometry_document(search.area)
    if search.interval is not None:
        start, end = search.interval
        ends = (
            ".." if start == EARLIEST else start.isoformat(),
            ".." if end == LATEST else end.isoformat(),
        )
        body["datetime"] = "/".join(ends)
    return body


def _text_condition(terms: Sequence[str]) -> list[sql.Composable]:
    if not terms:
        return []
    text = (
        "concat_ws(E'\\n', content->'properties'->>'title', content->'properties'->>'description', "
        "content->'properties'->>'keywords')"
    )
    patterns = "|".join(f"(?:{postgres_pattern(term)})" for term in terms)
    return [sql.SQL("{} ~* {}").format(_sql(text), sql.Literal(patterns))]


def _expression(key: SortKey) -> sql.Composable:
    if key.field in _COLUMNS:
        return sql.Identifier(key.field)
    return sql.SQL("content->'properties'->{}").format(sql.Literal(key.field))


def _order(keys: Sequence[SortKey]) -> sql.Composable:
    # `search_rows` reads by months if the order begins with `datetime` and a direction.
    return sql.SQL(", ").join(
        sql.SQL("{} {}{}").format(
            sql.SQL(key.field) if key.field in _COLUMNS else _expression(key),
            sql.SQL("DESC" if key.is_descending else "ASC"),
            sql.SQL("" if key.field in _COLUMNS else " NULLS LAST"),
        )
        for key in keys
    )


def _after(keys: Sequence[SortKey], place: PagePlace, condition: sql.Composable) -> sql.Composable:
    """Return the condition, for items that come after the place of a token only."""
    later: list[sql.Composable] = []
    equal: list[sql.Composable] = []
    for key, value in zip(keys, place.values, strict=True):
        expression, literal = _expression(key), _token_literal(key, value)
        if literal is not None:
            beyond = sql.SQL("{} {} {}").format(
                expression, sql.SQL("<" if key.is_descending else ">"), literal
            )
            if key.field not in _COLUMNS:
                beyond = sql.SQL("({} OR {} IS NULL)").format(beyond, expression)
            later.append(sql.SQL(" AND ").join([*equal, beyond]))
            equal.append(sql.SQL("{} = {}").format(expression, literal))
        else:
            equal.append(sql.SQL("{} IS NULL").format(expression))
    conditions = [condition, sql.SQL("({})").format(sql.SQL(" OR ").join(later or [_TRUE]))]
    first, literal = keys[0], _token_literal(keys[0], place.values[0])
    if first.field in _COLUMNS and literal is not None:
        # Implied by the other conditions, and one that an index answers.
        operator = sql.SQL("<=" if first.is_descending else ">=")
        conditions.append(sql.SQL("{} {} {}").format(_expression(first), operator, literal))
    return sql.SQL(" AND ").join(conditions)


def _token_literal(key: SortKey, value: Any) -> sql.Composable | None:
    column = _COLUMNS.get(key.field)
    if value is None and column is None:
        return None
    if not isinstance(value, str):
        raise QueryInvalid("token: it is damaged.", remedy="Begin again without a token.")
    return sql.SQL("{}::{}").format(sql.Literal(value), sql.SQL(column or "jsonb"))


def _count(connection: psycopg.Connection, condition: sql.Composable) -> int | None:
    # Without parameters, so that a percent sign in the condition is only itself.
    row = connection.execute(
        statement("search_count", condition=condition, rows=sql.Literal(MAX_COUNTED + 1))
    ).fetchone()
    count = int(row[0]) if row else 0
    return count if count <= MAX_COUNTED else None


def _sql(text: str) -> sql.Composable:
    """Return SQL that pgSTAC or this module wrote as a part of a statement."""
    return sql.SQL(text)


def _text(part: sql.Composable, connection: psycopg.Connection) -> str:
    return part.as_string(connection)
