"""Items, collections and staged tables for tests, and the catalogs to publish them in."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import sql

from geo_platform.ports import (
    ASSET_SCHEMA,
    ASSET_TABLE,
    ASSET_TABLE_VERSION,
    ITEM_FINGERPRINT,
    ITEM_RUN_ID,
    ITEM_SOURCE,
    Catalog,
)
from geo_platform.storage.local.stac_files import StacFiles
from geo_platform.storage.postgres.connections import Database
from geo_platform.storage.postgres.names import LOADER_ROLE, STAGING_SCHEMA
from geo_platform.storage.postgres.pgstac import PgStac
from tests.support.servers import Logins

COLLECTION = {
    "type": "Collection",
    "stac_version": "1.1.0",
    "stac_extensions": [],
    "id": "rasters",
    "title": "Rasters",
    "description": "Rasters.",
    "license": "other",
    "extent": {"spatial": {"bbox": [[0, 0, 1, 1]]}, "temporal": {"interval": [[None, None]]}},
    "links": [],
}


def item(
    item_id: str = "scene",
    version: str = "v1",
    *,
    collection: str = "rasters",
    bbox: tuple[float, float, float, float] = (0, 0, 1, 1),
    table: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return an item of a version, published by the run `run of <version>`.

    With `table`, "schema.name", it names that version of the table.
    """
    properties = {
        "datetime": "2020-01-01T00:00:00Z",
        "updated": "2026-01-01T00:00:00Z",
        ITEM_SOURCE: f"{item_id}.tif",
        ITEM_FINGERPRINT: version,
        ITEM_RUN_ID: f"run of {version}",
    }
    west, south, east, north = bbox
    document: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": item_id,
        "collection": collection,
        "geometry": {"type": "MultiPoint", "coordinates": [[west, south], [east, north]]},
        "bbox": list(bbox),
        "properties": properties | more,
        "links": [{"rel": "via", "href": f"https://store.example/bronze/{item_id}.tif"}],
        "assets": {
            "data": {
                "href": f"https://store.example/silver/{version}/{item_id}.tif",
                "roles": ["data"],
            }
        },
    }
    if table is not None:
        schema, _, name = table.partition(".")
        href = f"postgresql://host/database?table={table}"
        document["assets"]["table"] = {
            "href": href,
            "roles": ["data"],
            ASSET_SCHEMA: schema,
            ASSET_TABLE: name,
            ASSET_TABLE_VERSION: version,
        }
    return document


def stage_table(database: Database, version: str, rows: int, **says: Any) -> None:
    """Create a table of points as a load stages it: the loader's, indexed, with a comment."""
    comment = {
        "title": version,
        "version": version,
        "dataset": "roads",
        "run_id": f"run of {version}",
        "source_uri": "https://store.example/bronze/roads.gpkg",
        "load_mode": "update",
        "base_version": None,
        "rows": rows,
    }
    place = sql.Identifier(STAGING_SCHEMA, version)
    with database.connect() as connection:
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(LOADER_ROLE)))
        connection.execute(
            sql.SQL(
                "CREATE TABLE {} (number bigint, version text, geometry geometry(Point, 4326))"
            ).format(place)
        )
        connection.execute(
            sql.SQL(
                "INSERT INTO {} SELECT n, {}, ST_SetSRID(ST_MakePoint(n, n), 4326)"
                " FROM generate_series(1, {}) AS n"
            ).format(place, sql.Literal(version), sql.Literal(rows))
        )
        connection.execute(sql.SQL("CREATE INDEX ON {} USING gist (geometry)").format(place))
        connection.execute(
            sql.SQL("COMMENT ON TABLE {} IS {}").format(
                place, sql.Literal(json.dumps(comment | says))
            )
        )


def tables(database: Database, *schemas: str) -> set[str]:
    """Return the tables of the schemas, as schema.name."""
    with database.connect() as connection:
        rows = connection.execute(
            "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname = ANY(%s)",
            [list(schemas or ("geo", "geo_staging", "geo_replaced"))],
        )
        return {row[0] for row in rows}


@dataclass(frozen=True)
class CatalogUnderTest:
    """A catalog. `open` opens it again, `edit_collection` changes a stored collection directly."""

    catalog: Catalog
    open: Callable[[], Catalog]
    edit_collection: Callable[[dict[str, Any]], None]


def files_under_test(root: Path) -> CatalogUnderTest:
    def edit(changes: dict[str, Any]) -> None:
        path = root / "catalog" / "rasters" / "collection.json"
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")

    return CatalogUnderTest(StacFiles(root), lambda: StacFiles(root), edit)


def pgstac_under_test(logins: Logins) -> CatalogUnderTest:
    def edit(changes: dict[str, Any]) -> None:
        with logins.admin.connect() as connection:
            connection.execute("SET LOCAL search_path TO pgstac, public")
            connection.execute(
                "UPDATE collections SET content = content || %s::jsonb WHERE id = 'rasters'",
                [json.dumps(changes)],
            )

    return CatalogUnderTest(
        PgStac(logins.loader, root_href=None),
        lambda: PgStac(logins.other_loader, root_href=None),
        edit,
    )
