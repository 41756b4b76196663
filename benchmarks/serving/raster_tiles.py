"""Compare raster tiles of `serve` with rio-tiler alone on the local file.

Part "serving_raster" of `make bench`: CPU of a warm tile, then tiles a second of 8 clients. Both
sides read the same COG with the same resampling and encode WebP of the same quality, without
transparency where every pixel is valid.

python -m benchmarks.serving.raster_tiles FILE COUNT    tiles as z/x/y on standard input: rio-tiler
    makes COUNT of them; print its CPU milliseconds and its wall milliseconds of one tile, with the
    file opened for each tile and with the file kept open
"""

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import rasterio
from rasterio.warp import transform_bounds

from benchmarks.data import rgb_raster
from benchmarks.homes import home_of
from benchmarks.measure import median_ratio, spread
from benchmarks.serving.server import Server, percentile, publish, serving_api
from geo_platform.ports import ASSET_CONTAINER, ASSET_KEY
from geo_platform.settings import Profile, Settings
from geo_platform.storage.stores import open_catalog, open_objects

SIDE_PX = int(os.environ.get("BENCH_SERVING_SIDE", "12000"))
SECONDS = float(os.environ.get("BENCH_SERVING_SECONDS", "15"))
PROFILES = os.environ.get("BENCH_SERVING_PROFILES", "embedded,production").split(",")
TILES, CLIENTS = 150, 8
_TARGETS = {Profile.embedded: "1.5", Profile.production: "2.5"}
_KINDS = (
    "`serve`, addresses of TileJSON, which name the version",
    "`serve`, addresses without a version",
    "rio-tiler, the local file opened for each tile",
    "rio-tiler, the local file kept open",
)

# CPU and wall milliseconds of one tile.
Cost = tuple[float, float]


def serving_raster(rounds: int) -> list[str]:
    rows, ratios, many = [], [], []
    for profile in map(Profile, PROFILES):
        source = rgb_raster(SIDE_PX)
        with home_of(profile) as environment:
            publish(environment, source)
            cog = _local_cog(environment, source.stem)
            tiles = _tiles(cog)
            with serving_api(environment) as server:
                base = f"/raster/collections/rasters/items/{source.stem}"
                template = server.get(f"{base}/tilejson.json").json()["tiles"][0]
                path = template.removeprefix(server.address)
                named = [
                    path.format(**dict(zip("zxy", tile.split("/"), strict=True))) for tile in tiles
                ]
                unnamed = [each.partition("?")[0] for each in named]
                # The first round is not counted.
                costs = [
                    (_ours(server, named), _ours(server, unnamed), *_theirs(cog, tiles))
                    for _ in range(rounds + 1)
                ][1:]
                lasted = server.load(named, seconds=SECONDS, clients=CLIENTS)
        kinds = list(zip(*costs, strict=True))
        rows += [
            f"| {profile} | {kind} | {spread([cpu for cpu, _ in found])} "
            f"| {spread([wall for _, wall in found])} |"
            for kind, found in zip(_KINDS, kinds, strict=True)
        ]
        named_cpu, _, opened_cpu, kept_cpu = ([cpu for cpu, _ in found] for found in kinds)
        ratios.append(
            f"{profile} **{median_ratio(named_cpu, opened_cpu):.2f}**, and "
            f"{median_ratio(named_cpu, kept_cpu):.2f} if it keeps the file open "
            f"(target: at most {_TARGETS[profile]})"
        )
        many.append(
            f"{profile} **{len(lasted) / SECONDS:.0f}** tiles a second, p50 "
            f"{percentile(lasted, 0.5):.0f} ms, p95 **{percentile(lasted, 0.95):.0f} ms**"
        )
    return [
        f"## Serving: 256 px WebP tiles of one COG of {SIDE_PX:,} x {SIDE_PX:,} RGB",
        "",
        f"{TILES} warm tiles one after the other, at the zoom of the pixels and two before. All "
        "are resampled bilinearly and encoded with quality 80.",
        "",
        "| profile | what | CPU ms a tile, median (min to max) | wall ms |",
        "|---|---|---|---|",
        *rows,
        "",
        f"Ratio of CPU, `serve` with a version / rio-tiler: {'; '.join(ratios)}. `serve` includes "
        "HTTP, authentication and the lookup of the item. Programs that use rio-tiler open the "
        "file for each tile.",
        "",
        f"{CLIENTS} clients on one server: {'; '.join(many)} (target: 60 or more, p95 under "
        "150 ms). The clients run on the same machine.",
        "",
    ]


def _local_cog(environment: dict[str, str], item_id: str) -> Path:
    """Return the COG of the item as a file that rio-tiler reads."""
    settings = Settings.model_validate(
        {name.removeprefix("GEO_PLATFORM_").lower(): value for name, value in environment.items()}
    )
    item = open_catalog(settings).item("rasters", item_id)
    assert item is not None
    asset = item["assets"]["data"]
    copy = Path(environment["GEO_PLATFORM_HOME"]) / "alone.tif"
    with open_objects(settings).local_path(asset[ASSET_CONTAINER], asset[ASSET_KEY]) as path:
        copy.write_bytes(path.read_bytes())
    return copy


def _tiles(cog: Path) -> list[str]:
    """Return tiles that lie in the raster, a few of each of three zooms."""
    with rasterio.open(cog) as opened:
        west, south, east, north = transform_bounds(opened.crs, "EPSG:4326", *opened.bounds)
        resolution = opened.res[0]
    zoom = round(math.log2(156_543 * math.cos(math.radians((south + north) / 2)) / resolution))
    found = []
    for z in (zoom, zoom - 1, zoom - 2):
        columns = [int((lon + 180) / 360 * 2**z) for lon in (west, east)]
        rows = [
            int((1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * 2**z)
            for lat in (north, south)
        ]
        inner = [
            f"{z}/{x}/{y}"
            for x in range(columns[0] + 1, columns[1])
            for y in range(rows[0] + 1, rows[1])
        ]
        found += inner[:: max(1, len(inner) // 12)][:12]
    return found


def _ours(server: Server, paths: Sequence[str]) -> Cost:
    for path in paths:
        server.get(path)
    cpu_s, started = server.cpu_s(), time.perf_counter()
    for number in range(TILES):
        server.get(paths[number % len(paths)])
    wall_s = time.perf_counter() - started
    return (server.cpu_s() - cpu_s) / TILES * 1000, wall_s / TILES * 1000


def _theirs(cog: Path, tiles: Sequence[str]) -> tuple[Cost, Cost]:
    """Return the cost with the file opened for each tile, and with the file kept open."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serving.raster_tiles", str(cog), str(TILES)],
        input="\n".join(tiles),
        capture_output=True,
        text=True,
        check=True,
    )
    opened_cpu, opened_wall, kept_cpu, kept_wall = map(float, done.stdout.split())
    return (opened_cpu, opened_wall), (kept_cpu, kept_wall)


def main() -> None:
    from rio_tiler.io import Reader

    cog, count = sys.argv[1], int(sys.argv[2])
    tiles = [tuple(map(int, line.split("/"))) for line in sys.stdin.read().split()]

    def make(reader: Reader, z: int, x: int, y: int) -> None:
        image = reader.tile(
            x, y, z, tilesize=256, resampling_method="bilinear", reproject_method="bilinear"
        )
        image.render(add_mask=not image.mask.all(), img_format="WEBP", QUALITY=80)

    def make_opened(z: int, x: int, y: int) -> None:
        with Reader(cog) as reader:
            make(reader, z, x, y)

    def measure(one: Callable[[int, int, int], None]) -> Cost:
        for z, x, y in tiles:
            one(z, x, y)
        cpu, started = time.process_time(), time.perf_counter()
        for number in range(count):
            one(*tiles[number % len(tiles)])
        cpu_ms = (time.process_time() - cpu) / count * 1000
        return cpu_ms, (time.perf_counter() - started) / count * 1000

    settings = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_NUM_THREADS": "1"}
    with rasterio.Env(**settings):
        opened = measure(make_opened)
        with Reader(cog) as kept_open:
            kept = measure(lambda z, x, y: make(kept_open, z, x, y))
    print(*opened, *kept)


if __name__ == "__main__":
    main()
