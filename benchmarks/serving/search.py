"""Measure item search: bbox and time, 100 items, among many items.

Part "serving_search" of `make bench`: 1,000,000 items in pgSTAC, loaded by pypgstac, and 20,000
items in the files of the embedded profile.
"""

import json
import os
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.homes import home_of
from benchmarks.serving.server import Server, percentile, serving_api
from geo_platform.ports import ITEM_FINGERPRINT, ITEM_RUN_ID
from geo_platform.settings import Profile, Settings
from geo_platform.storage.stores import open_catalog

ITEMS = {
    Profile.embedded: int(os.environ.get("BENCH_SEARCH_FILES", "20000")),
    Profile.production: int(os.environ.get("BENCH_SEARCH_ITEMS", "1000000")),
}
SEARCHES = 100
# Sides of a search in degrees, and its days: an answer has 100 items then.
_WINDOWS = {Profile.embedded: (60.0, 730), Profile.production: (20.0, 60)}
_TARGETS_MS = {Profile.embedded: 100, Profile.production: 200}
_COLLECTION: dict[str, Any] = {
    "type": "Collection",
    "stac_version": "1.1.0",
    "id": "many",
    "description": "Scenes at random places, in ten years.",
    "license": "other",
    "extent": {
        "spatial": {"bbox": [[-180, -90, 180, 90]]},
        "temporal": {"interval": [[None, None]]},
    },
    "links": [],
}
_FIRST_UTC = datetime(2016, 1, 1, tzinfo=UTC)
_DAYS = 3_652


def serving_search() -> list[str]:
    rows = []
    for profile in Profile:
        with home_of(profile) as environment:
            started = time.perf_counter()
            _load(environment, profile)
            loaded_s = time.perf_counter() - started
            with serving_api(environment) as server:
                searches = _searches(*_WINDOWS[profile])
                first_s = _ask(server, searches[:1])[0][0] / 1000
                lasted, found = _ask(server, searches)
        rows.append(
            f"| {profile} | {ITEMS[profile]:,} | {loaded_s:.0f} | {first_s:.2f} "
            f"| {percentile(lasted, 0.5):.0f} | **{percentile(lasted, 0.95):.0f}** "
            f"(target: {_TARGETS_MS[profile]}) | {percentile(list(map(float, found)), 0.5):.0f} |"
        )
    return [
        "## Serving: item search by bbox and time, 100 items",
        "",
        f"{SEARCHES} different searches of `/stac/search` one after the other, each of a part of "
        "the world and of ten years that has about 100 items. pgSTAC's items are loaded by "
        "pypgstac, those in files are written one by one.",
        "",
        "| profile | items | s to load | s of the first search | ms, median | ms, 95th percentile "
        "| items in the answer, median |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
    ]


def _items(number: int) -> Iterator[dict[str, Any]]:
    chosen = random.Random(1)  # noqa: S311  # the same items each time
    for index in range(number):
        west, south = chosen.uniform(-179, 178), chosen.uniform(-85, 84)
        east, north = west + 0.5, south + 0.5
        taken = _FIRST_UTC + timedelta(days=chosen.random() * _DAYS)
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        yield {
            "type": "Feature",
            "stac_version": "1.1.0",
            "stac_extensions": [],
            "id": f"scene-{index:07}",
            "collection": _COLLECTION["id"],
            "bbox": [west, south, east, north],
            "geometry": {"type": "Polygon", "coordinates": [ring]},
            "properties": {
                "datetime": taken.isoformat().replace("+00:00", "Z"),
                "gsd": chosen.choice([1, 10, 30]),
                "platform": chosen.choice(["a", "b"]),
                ITEM_FINGERPRINT: f"{index:032x}",
                ITEM_RUN_ID: "bench",
            },
            "assets": {"data": {"href": f"https://example.org/{index}.tif", "type": "image/tiff"}},
            "links": [],
        }


def _load(environment: dict[str, str], profile: Profile) -> None:
    items = _items(ITEMS[profile])
    if profile is Profile.production:
        _load_pgstac(environment, items)
        return
    settings = Settings.model_validate(
        {name.removeprefix("GEO_PLATFORM_").lower(): value for name, value in environment.items()}
    )
    catalog = open_catalog(settings)
    first = next(items)
    catalog.publish(_COLLECTION, first, replaces=None)
    (path,) = Path(settings.catalog_dir).rglob(f"{first['id']}.json")
    for item in items:
        # As the first one is stored: publishing writes collection and parents each time.
        folder = path.parent.parent / item["id"] if path.parent.name == first["id"] else path.parent
        folder.mkdir(exist_ok=True)
        document = json.loads(path.read_bytes()) | item
        (folder / f"{item['id']}.json").write_text(json.dumps(document), encoding="utf-8")


def _load_pgstac(environment: dict[str, str], items: Iterator[dict[str, Any]]) -> None:
    from pypgstac.db import PgstacDB
    from pypgstac.load import Loader, Methods

    with PgstacDB(dsn=environment["GEO_PLATFORM_POSTGRES_URL"]) as database:
        loader = Loader(database)
        loader.load_collections(iter([_COLLECTION]), insert_mode=Methods.upsert)
        loader.load_items(items, insert_mode=Methods.insert)
        database.query_one("SELECT 1")
    import psycopg

    with psycopg.connect(environment["GEO_PLATFORM_POSTGRES_URL"], autocommit=True) as connection:
        connection.execute("ANALYZE")


def _searches(degrees: float, days: int) -> list[dict[str, str]]:
    chosen = random.Random(2)  # noqa: S311  # the same searches each time
    found = []
    for _ in range(SEARCHES):
        west, south = chosen.uniform(-170, 170 - degrees), chosen.uniform(-80, 80 - degrees)
        start = _FIRST_UTC + timedelta(days=chosen.random() * (_DAYS - days))
        interval = [start, start + timedelta(days=days)]
        found.append(
            {
                "bbox": f"{west:.3f},{south:.3f},{west + degrees:.3f},{south + degrees:.3f}",
                "datetime": "/".join(each.isoformat().replace("+00:00", "Z") for each in interval),
                "limit": "100",
            }
        )
    return found


def _ask(server: Server, searches: list[dict[str, str]]) -> tuple[list[float], list[int]]:
    """Return the milliseconds of each search, and the number of items of each answer."""
    lasted, found = [], []
    for parameters in searches:
        started = time.perf_counter()
        answer = server.get("/stac/search", params=parameters)
        lasted.append((time.perf_counter() - started) * 1000)
        found.append(len(answer.json()["features"]))
    return lasted, found
