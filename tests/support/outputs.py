"""Read what the output of `ingest --json` names, as a client would, on either profile."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import geopandas as gpd
from sqlalchemy import create_engine

from geo_platform.ports import SILVER
from geo_platform.storage.postgres.connections import Database
from tests.support.production import ProfileUnderTest

Answer = Mapping[str, Any]


@contextmanager
def output(profile: ProfileUnderTest, home: Path, answer: Answer, suffix: str) -> Iterator[Path]:
    """Yield the first object of the output whose name ends with `suffix`, as a local file."""
    href = next(href for href in answer["outputs"] if href.endswith(suffix))
    with published(profile, home, href) as path:
        yield path


@contextmanager
def published(profile: ProfileUnderTest, home: Path, href: str) -> Iterator[Path]:
    """Yield an object of silver, by its address, as a local file."""
    objects = profile.objects(home)
    found = [stored.reference for stored in objects.list(SILVER) if stored.reference.uri == href]
    assert found, f"the store has no object at {href}"
    with objects.local_path(SILVER, found[0].key) as path:
        yield path


def frame(profile: ProfileUnderTest, home: Path, answer: Answer) -> gpd.GeoDataFrame:
    """Return the published features: the GeoParquet file, or the table as a read-only login."""
    table = table_of(answer)
    if table is None:
        with output(profile, home, answer, ".parquet") as path:
            return gpd.read_parquet(path)
    assert profile.logins is not None
    return read_table(profile.logins.reader, table)


def table_of(answer: Answer) -> str | None:
    """Return schema.table, or None if the output names no table."""
    addresses = [urlsplit(href) for href in answer["outputs"] if href.startswith("postgresql://")]
    return parse_qs(addresses[0].query)["table"][0] if addresses else None


def read_table(database: Database, table: str) -> gpd.GeoDataFrame:
    """Read every row of schema.table with geopandas."""
    engine = create_engine(
        database.url.get_secret_value().replace("postgresql://", "postgresql+psycopg://", 1)
    )
    schema, _, name = table.partition(".")
    try:
        with engine.connect() as connection:
            return gpd.read_postgis(
                f'SELECT * FROM "{schema}"."{name}"',
                connection,
                geom_col="geometry",
            )
    finally:
        engine.dispose()
