"""What an answer of `ingest --json` names, read as a client would read it, wherever the profile keeps it.

What belongs here: from an answer to a file or a frame. What stays out: asserting anything of it.
"""

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
    """The answer's first object whose name ends so, as a file while the context lasts."""
    href = next(href for href in answer["outputs"] if href.endswith(suffix))
    with published(profile, home, href) as path:
        yield path


@contextmanager
def published(profile: ProfileUnderTest, home: Path, href: str) -> Iterator[Path]:
    """An object of silver, by its address."""
    objects = profile.objects(home)
    found = [stored.reference for stored in objects.list(SILVER) if stored.reference.uri == href]
    assert found, f"no object of the store is at {href}"
    with objects.local_path(SILVER, found[0].key) as path:
        yield path


def frame(profile: ProfileUnderTest, home: Path, answer: Answer) -> gpd.GeoDataFrame:
    """The published features: of the GeoParquet file, or of the table as a login sees it that may only read."""
    table = table_of(answer)
    if table is None:
        with output(profile, home, answer, ".parquet") as path:
            return gpd.read_parquet(path)
    assert profile.logins is not None
    return read_table(profile.logins.reader, table)


def table_of(answer: Answer) -> str | None:
    """schema.table, where the answer names one."""
    addresses = [urlsplit(href) for href in answer["outputs"] if href.startswith("postgresql://")]
    return parse_qs(addresses[0].query)["table"][0] if addresses else None


def read_table(database: Database, table: str) -> gpd.GeoDataFrame:
    """Every row of schema.table, by geopandas."""
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
