"""Measure vector tiles of 500,000 polygons, and PostGIS's own tile of the same window.

Part "serving_vector" of `make bench`: the job that draws the tiles of low zooms, then tiles of all
zooms from 0 to 14, each asked for twice: cold, and warm from the server's memory.
"""

import json
import os
import random
import time
from collections.abc import Sequence

from benchmarks.data import polygons
from benchmarks.homes import home_of
from benchmarks.jobs import COMMAND
from benchmarks.measure import Measured, run
from benchmarks.serving.server import Server, percentile, publish, serving_api
from geo_platform.ports import ASSET_SCHEMA, ASSET_TABLE
from geo_platform.settings import Profile, Settings
from geo_platform.storage.stores import open_catalog

ROWS = int(os.environ.get("BENCH_SERVING_ROWS", "500000"))
TILES_OF_A_ZOOM = int(os.environ.get("BENCH_SERVING_TILES", "24"))
_GROUPS = ((0, 2), (3, 5), (6, 9), (10, 14))
# The rows lie between 80 degrees south and north: these are the shares of the map's height.
_NORTH, _SOUTH = 0.12, 0.88

# (zoom, column, row)
Tile = tuple[int, int, int]


def serving_vector() -> list[str]:
    tiles = _tiles()
    rows, jobs, worst = [], [], []
    for profile in Profile:
        source = polygons(ROWS)
        with home_of(profile) as environment:
            publish(environment, source)
            drawn = _keep_tiles(environment, source.stem)
            with serving_api(environment) as server:
                base = f"/features/collections/vectors:{source.stem}/tiles/WebMercatorQuad"
                template = server.get(f"{base}/tilejson.json").json()["tiles"][0]
                path = template.removeprefix(server.address)
                cold, largest = _ask(server, path, tiles)
                warm, _ = _ask(server, path, tiles)
            theirs = (
                _st_asmvt(environment, source.stem, tiles) if profile is Profile.production else {}
            )
        for first, last in _GROUPS:
            of_group = [tile for tile in tiles if first <= tile[0] <= last]
            rows.append(
                f"| {profile} | {first} to {last} | {_spread(cold, of_group)} "
                f"| {_spread(warm, of_group)} | {_spread(theirs, of_group)} |"
            )
        number = json.loads(drawn.stdout)["tiles"]
        jobs.append(
            f"{profile} {number} tiles in {drawn.wall_s:.0f} s, {drawn.cpu_s:.0f} CPU seconds of "
            f"the command, {drawn.peak_rss_mb:,.0f} MB"
        )
        worst.append(
            f"{profile} cold **{percentile(list(cold.values()), 0.95):.0f} ms**, warm "
            f"**{percentile(list(warm.values()), 0.95):.0f} ms**, largest tile {largest:,} bytes"
        )
    return [
        f"## Serving: vector tiles of {ROWS:,} polygons, zooms 0 to 14",
        "",
        f"{len(tiles)} tiles, up to {TILES_OF_A_ZOOM} of each zoom, one after the other over HTTP, "
        "in milliseconds: median / 95th percentile.",
        "",
        "| profile | zooms | cold | warm | `ST_AsMVT` of the same window, all rows in it |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"95th percentile of all: {'; '.join(worst)} (target: 300 cold, 30 warm, 500,000 bytes). "
        "A tile of `ST_AsMVT` has no bound: that of zoom 0 has all rows.",
        "",
        f"Tiles of low zooms, drawn once (`geo-platform tiles`): {'; '.join(jobs)}.",
        "",
    ]


def _tiles() -> list[Tile]:
    """Return tiles of each zoom in the area of the rows: all, or a random choice."""
    chosen = random.Random(1)  # noqa: S311  # the same choice each time
    found: list[Tile] = []
    for z in range(15):
        side = 2**z
        rows = range(int(_NORTH * side), int(_SOUTH * side) + 1)
        if side * len(rows) <= TILES_OF_A_ZOOM:
            found += [(z, x, y) for x in range(side) for y in rows]
            continue
        of_zoom: set[Tile] = set()
        while len(of_zoom) < TILES_OF_A_ZOOM:
            of_zoom.add((z, chosen.randrange(side), chosen.choice(rows)))
        found += sorted(of_zoom)
    return found


def _keep_tiles(environment: dict[str, str], item_id: str) -> Measured:
    return run([COMMAND, "tiles", item_id, "--json"], env={**os.environ, **environment})


def _ask(server: Server, template: str, tiles: Sequence[Tile]) -> tuple[dict[Tile, float], int]:
    """Return the milliseconds of each tile, and the bytes of the largest."""
    lasted, largest = {}, 0
    for z, x, y in tiles:
        path = template.replace("{z}", str(z)).replace("{x}", str(x)).replace("{y}", str(y))
        started = time.perf_counter()
        answer = server.get(path)
        lasted[z, x, y] = (time.perf_counter() - started) * 1000
        largest = max(largest, len(answer.content))
    return lasted, largest


def _st_asmvt(
    environment: dict[str, str], item_id: str, tiles: Sequence[Tile]
) -> dict[Tile, float]:
    """Return the milliseconds that PostGIS takes for its own tile of each window."""
    import psycopg
    from psycopg import sql

    settings = Settings.model_validate(
        {name.removeprefix("GEO_PLATFORM_").lower(): value for name, value in environment.items()}
    )
    item = open_catalog(settings).item("vectors", item_id)
    assert item is not None
    asset = item["assets"]["table"]
    columns = [column["name"] for column in item["properties"]["table:columns"]]
    shape = item["properties"]["table:primary_geometry"]
    values = sql.SQL(", ").join(sql.Identifier(name) for name in columns if name != shape)
    statement = sql.SQL(
        "SELECT ST_AsMVT(tile, 'rows') FROM (SELECT {values}, ST_AsMVTGeom(ST_Transform({shape}, "
        "3857), ST_TileEnvelope(%(z)s, %(x)s, %(y)s), 4096, 64, true) AS shape FROM {table} "
        "WHERE {shape} && ST_Transform(ST_TileEnvelope(%(z)s, %(x)s, %(y)s, "
        "margin => 64.0 / 4096), 4326)) AS tile"
    ).format(
        values=values,
        shape=sql.Identifier(shape),
        table=sql.Identifier(asset[ASSET_SCHEMA], asset[ASSET_TABLE]),
    )
    lasted = {}
    with psycopg.connect(environment["GEO_PLATFORM_POSTGRES_URL"]) as connection:
        for z, x, y in tiles:
            started = time.perf_counter()
            connection.execute(statement, {"z": z, "x": x, "y": y}, binary=True).fetchone()
            lasted[z, x, y] = (time.perf_counter() - started) * 1000
    return lasted


def _spread(lasted: dict[Tile, float], tiles: Sequence[Tile]) -> str:
    values = [lasted[tile] for tile in tiles if tile in lasted]
    if not values:
        return "-"
    return f"{percentile(values, 0.5):,.0f} / {percentile(values, 0.95):,.0f}"
