"""Make ../base.pmtiles: land and borders of Natural Earth 1:50m (public domain), zooms 0 to 5.

    npm install && python base-map.py

Natural Earth comes from the npm package `world-atlas`, whose polygons are not cut at the
antimeridian. GDAL's command `ogr2ogr` draws the tiles.
"""

import json
import subprocess
import tempfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from pmtiles.tile import zxy_to_tileid
from pmtiles.writer import write

from geo_platform.serving.features.kept_tiles import archive_header

HERE = Path(__file__).parent
DEEPEST = 5
# Of the map.
_NORTHMOST = 85.06
_HALVES = ((-540, -180, 360), (-180, 180, 0), (180, 540, -360))


def cut(polygon: shapely.Polygon) -> shapely.Geometry:
    """Return a polygon without jumps over the antimeridian, cut there."""
    rings = [_unwrapped(ring) for ring in (polygon.exterior, *polygon.interiors)]
    whole = shapely.make_valid(shapely.Polygon(rings[0], rings[1:]))
    parts = [
        shapely.affinity.translate(whole & shapely.box(west, -_NORTHMOST, east, _NORTHMOST), turn)
        for west, east, turn in _HALVES
    ]
    areas = [part for each in parts for part in shapely.get_parts(each) if part.area > 0]
    return shapely.union_all(areas)


def _unwrapped(ring: shapely.LinearRing) -> np.ndarray:
    xy = shapely.get_coordinates(ring)
    xy[:, 0] = np.unwrap(xy[:, 0], period=360)
    if abs(xy[-1, 0] - xy[0, 0]) < 180:
        return xy
    # Around the pole: close it along the edge of the map.
    return np.vstack([xy, [xy[-1, 0], -90], [xy[0, 0], -90], xy[:1]])


def main() -> None:
    atlas = HERE / "node_modules" / "world-atlas" / "countries-50m.json"
    polygons, of = shapely.get_parts(
        pyogrio.read_dataframe(atlas, layer="countries").geometry.values, return_index=True
    )
    pieces = np.array([cut(polygon) for polygon in polygons])
    countries = np.array([shapely.union_all(pieces[of == n]) for n in range(of.max() + 1)])
    # Widened a little, so that no gap is left between countries, but not over the antimeridian.
    whole_map = shapely.box(-180, -_NORTHMOST, 180, _NORTHMOST)
    land = shapely.get_parts(shapely.union_all(shapely.buffer(countries, 1e-6)) & whole_map)
    first, second = shapely.STRtree(countries).query(countries, predicate="intersects")
    edges = shapely.boundary(countries)
    shared = [
        part
        for a, b in zip(first, second, strict=True)
        if a < b
        for part in shapely.get_parts(shapely.intersection(edges[a], edges[b]))
        if part.geom_type == "LineString"
    ]
    borders = shapely.get_parts(shapely.line_merge(shapely.multilinestrings(shared)))
    with tempfile.TemporaryDirectory() as name:
        source, tiles = Path(name, "base.gpkg"), Path(name, "tiles")
        for layer, shapes in (("land", land), ("borders", borders)):
            frame = gpd.GeoDataFrame(geometry=list(shapes), crs=4326)
            pyogrio.write_dataframe(frame, source, layer=layer, append=source.exists())
        options = ["FORMAT=DIRECTORY", f"MAXZOOM={DEEPEST}", "COMPRESS=YES"]
        creation = [part for option in options for part in ("-dsco", option)]
        subprocess.run(["ogr2ogr", "-f", "MVT", tiles, source, *creation], check=True)  # noqa: S603, S607  # Debian's
        _pack(tiles, HERE.parent / "base.pmtiles")


def _pack(tiles: Path, archive: Path) -> None:
    found = []
    for path in tiles.rglob("*.pbf"):
        z, x, y = (int(part) for part in path.relative_to(tiles).with_suffix("").parts)
        if 0 <= x < 2**z and 0 <= y < 2**z:
            found.append((zxy_to_tileid(z, x, y), path))
    with write(str(archive)) as writer:
        for number, path in sorted(found):
            writer.write_tile(number, path.read_bytes())
        layers = json.loads(json.loads((tiles / "metadata.json").read_text())["json"])
        about = {"name": "Natural Earth", "attribution": "Natural Earth"}
        writer.finalize(archive_header(), {**about, "vector_layers": layers["vector_layers"]})


if __name__ == "__main__":
    main()
