"""Describe the tiles of a raster to clients: TileJSON, OGC tile matrix sets, WMTS capabilities.

Sources: TileJSON 3.0.0; OGC 17-083r4 (tile matrix sets 2.0); OGC 07-057r7 (WMTS 1.0.0).

Called by `api/serving/raster.py` and `rasters.py`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from xml.sax.saxutils import escape, quoteattr

from pyproj import CRS

from geo_platform.serving.raster.encoding import PixelFormat
from geo_platform.serving.raster.grids import (
    MAX_ZOOM,
    NATIVE_TILE_PX,
    NativeGrid,
    TileGrid,
)
from geo_platform.serving.raster.windows import MERCATOR_HALF_M

# The pixel of a screen that scale denominators assume, in metres (17-083r4, 6.1.1.2), and metres
# in a degree on the sphere of that rule.
SCREEN_PIXEL_M = 0.00028
METRES_PER_DEGREE = math.pi * 6_378_137.0 / 180
TILE_PX = 256
WMTS_FORMATS = (PixelFormat.png, PixelFormat.webp, PixelFormat.jpg)


@dataclass(frozen=True)
class TileFacts:
    """What descriptions say about a raster.

    `bounds` are west, south, east, north in degrees; west > east across the antimeridian.
    `zooms` are the first and last useful zoom of WebMercatorQuad. `native`: None if the raster's
    grid has no tiles of its own. `renders` are titles by name.
    """

    title: str
    bounds: tuple[float, float, float, float]
    zooms: tuple[int, int]
    native: NativeGrid | None
    renders: Mapping[str, str]

    @property
    def flat_bounds(self) -> tuple[float, float, float, float]:
        """The bounds with west < east: all longitudes if they cross the antimeridian."""
        west, south, east, north = self.bounds
        return (west, south, east, north) if west <= east else (-180.0, south, 180.0, north)

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the bounds, longitude and latitude."""
        west, south, east, north = self.bounds
        middle = (west + east + (360.0 if west > east else 0.0)) / 2
        return middle - 360.0 if middle > 180.0 else middle, (south + north) / 2

    def zooms_of(self, tile_px: int) -> tuple[int, int]:
        """Return the zooms of tiles of `tile_px`, a power of two times 256.

        Tiles of twice the size have the same resolution a zoom earlier.
        """
        earlier = int(math.log2(tile_px / TILE_PX))
        return max(self.zooms[0] - earlier, 0), max(self.zooms[1] - earlier, 0)


@dataclass(frozen=True)
class TileMatrix:
    """One zoom of a tile matrix set. `origin` is the upper left corner in the CRS, x and y."""

    zoom: int
    cell_size: float
    origin: tuple[float, float]
    tile_px: int
    columns: int
    rows: int


def mercator_zooms(longest_px: int, pixel_m: float) -> tuple[int, int]:
    """Return the first and last useful zoom of a raster.

    `longest_px`: pixels of its longer side; `pixel_m`: size of a pixel in metres of the map. At the
    last zoom a pixel of a tile is at most 1.1 times a pixel of the raster; at the first one the
    raster has at most 128 px.
    """
    whole = 2 * MERCATOR_HALF_M / TILE_PX
    last = min(max(math.ceil(math.log2(whole / (pixel_m * 1.1))), 0), MAX_ZOOM)
    first = max(last - max(math.ceil(math.log2(longest_px / 128)), 0), 0)
    return first, last


def tile_json(facts: TileFacts, tiles: str, *, tile_px: int = TILE_PX) -> dict[str, Any]:
    """Return the TileJSON document. `tiles` is the template of the addresses.

    `tileSize` is no member of TileJSON's. MapLibre reads it, and takes 512 without it.
    """
    west, south, east, north = facts.flat_bounds
    first, last = facts.zooms_of(tile_px)
    return {
        "tilejson": "3.0.0",
        "name": facts.title,
        "scheme": "xyz",
        "tiles": [tiles],
        "tileSize": tile_px,
        "minzoom": first,
        "maxzoom": last,
        "bounds": [west, south, east, north],
        "center": [*facts.centre, first],
    }


def matrices_of(facts: TileFacts, grid: TileGrid) -> tuple[CRS, list[TileMatrix]]:
    """Return the CRS and the zooms of a tile matrix set; `native` must have tiles."""
    if grid is TileGrid.native and facts.native is not None:
        native = facts.native
        crs = CRS.from_wkt(native.crs.to_wkt())
        origin = (native.transform.c, native.transform.f)
        return crs, [
            TileMatrix(
                zoom,
                native.transform.a * native.size_px(zoom),
                origin,
                NATIVE_TILE_PX,
                *native.tiles(zoom),
            )
            for zoom in range(native.max_zoom + 1)
        ]
    origin = (-MERCATOR_HALF_M, MERCATOR_HALF_M)
    return CRS.from_epsg(3857), [
        TileMatrix(zoom, 2 * MERCATOR_HALF_M / TILE_PX / 2**zoom, origin, TILE_PX, 2**zoom, 2**zoom)
        for zoom in range(facts.zooms[1] + 1)
    ]


def tile_matrix_set(facts: TileFacts, grid: TileGrid) -> dict[str, Any]:
    """Return the description of a tile matrix set as JSON (17-083r4, annex B)."""
    crs, matrices = matrices_of(facts, grid)
    authority = crs.to_authority()
    return {
        "id": grid.value,
        "title": "Web Mercator" if grid is TileGrid.web_mercator else "The raster's own grid",
        "crs": f"http://www.opengis.net/def/crs/{authority[0]}/0/{authority[1]}"
        if authority
        else {"wkt": crs.to_json_dict()},
        "orderedAxes": [axis.abbrev for axis in crs.axis_info],
        "tileMatrices": [
            {
                "id": str(matrix.zoom),
                "scaleDenominator": matrix.cell_size * _metres(crs) / SCREEN_PIXEL_M,
                "cellSize": matrix.cell_size,
                "cornerOfOrigin": "topLeft",
                "pointOfOrigin": list(_in_axis_order(crs, matrix.origin)),
                "tileWidth": matrix.tile_px,
                "tileHeight": matrix.tile_px,
                "matrixWidth": matrix.columns,
                "matrixHeight": matrix.rows,
            }
            for matrix in matrices
        ],
    }


def wmts_capabilities(
    facts: TileFacts,
    address: str,
    own_address: str,
    parameters: Mapping[str, str],
    *,
    formats: Sequence[PixelFormat] = WMTS_FORMATS,
) -> str:
    """Return the WMTS capabilities: one layer for each render.

    `address` is that of the raster, before `/tiles`; `own_address` that of this document.
    `parameters` are added to the addresses of tiles.
    """
    grids = [TileGrid.web_mercator]
    if facts.native is not None and CRS.from_wkt(facts.native.crs.to_wkt()).to_authority():
        grids.append(TileGrid.native)
    layers = "".join(
        _layer(facts, name, title, grids, formats, address, parameters)
        for name, title in facts.renders.items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<Capabilities xmlns="http://www.opengis.net/wmts/1.0" '
        'xmlns:ows="http://www.opengis.net/ows/1.1" '
        'xmlns:xlink="http://www.w3.org/1999/xlink" version="1.0.0">\n'
        f"<ows:ServiceIdentification><ows:Title>{escape(facts.title)}</ows:Title>"
        "<ows:ServiceType>OGC WMTS</ows:ServiceType>"
        "<ows:ServiceTypeVersion>1.0.0</ows:ServiceTypeVersion></ows:ServiceIdentification>\n"
        f"<Contents>{layers}{''.join(_matrix_set(facts, grid) for grid in grids)}</Contents>\n"
        f"<ServiceMetadataURL xlink:href={quoteattr(own_address)}/>\n"
        "</Capabilities>\n"
    )


def _layer(
    facts: TileFacts,
    name: str,
    title: str,
    grids: Sequence[TileGrid],
    formats: Sequence[PixelFormat],
    address: str,
    parameters: Mapping[str, str],
) -> str:
    west, south, east, north = facts.flat_bounds
    query = urlencode({"render": name, **parameters})
    resources = "".join(
        f'<ResourceURL format="{each.media_type}" resourceType="tile" template='
        + quoteattr(
            f"{address}/tiles/{{TileMatrixSet}}/{{TileMatrix}}/{{TileCol}}/{{TileRow}}.{each}?{query}"
        )
        + "/>"
        for each in formats
    )
    return (
        f"<Layer><ows:Title>{escape(f'{facts.title}: {title}')}</ows:Title>"
        "<ows:WGS84BoundingBox>"
        f"<ows:LowerCorner>{west} {south}</ows:LowerCorner>"
        f"<ows:UpperCorner>{east} {north}</ows:UpperCorner></ows:WGS84BoundingBox>"
        f"<ows:Identifier>{escape(name)}</ows:Identifier>{_native_bounds(facts)}"
        '<Style isDefault="true"><ows:Identifier>default</ows:Identifier></Style>'
        + "".join(f"<Format>{each.media_type}</Format>" for each in formats)
        + "".join(
            f"<TileMatrixSetLink><TileMatrixSet>{grid}</TileMatrixSet></TileMatrixSetLink>"
            for grid in grids
        )
        + f"{resources}</Layer>\n"
    )


def _native_bounds(facts: TileFacts) -> str:
    """Return the bounds of the raster in its own CRS, by which clients know where it ends."""
    native = facts.native
    crs = CRS.from_wkt(native.crs.to_wkt()) if native is not None else None
    authority = crs.to_authority() if crs is not None else None
    if native is None or crs is None or authority is None:
        return ""
    place = native.transform
    lower = _in_axis_order(crs, (place.c, place.f + native.rows * place.e))
    upper = _in_axis_order(crs, (place.c + native.cols * place.a, place.f))
    return (
        f'<ows:BoundingBox crs="{_urn(authority)}">'
        f"<ows:LowerCorner>{lower[0]!r} {lower[1]!r}</ows:LowerCorner>"
        f"<ows:UpperCorner>{upper[0]!r} {upper[1]!r}</ows:UpperCorner></ows:BoundingBox>"
    )


def _urn(authority: tuple[str, str]) -> str:
    return f"urn:ogc:def:crs:{authority[0]}::{authority[1]}"


def _matrix_set(facts: TileFacts, grid: TileGrid) -> str:
    crs, matrices = matrices_of(facts, grid)
    name = _urn(crs.to_authority() or ("", ""))
    described = "".join(
        f"<TileMatrix><ows:Identifier>{matrix.zoom}</ows:Identifier>"
        f"<ScaleDenominator>{matrix.cell_size * _metres(crs) / SCREEN_PIXEL_M!r}</ScaleDenominator>"
        "<TopLeftCorner>"
        + " ".join(repr(float(each)) for each in _in_axis_order(crs, matrix.origin))
        + f"</TopLeftCorner><TileWidth>{matrix.tile_px}</TileWidth>"
        f"<TileHeight>{matrix.tile_px}</TileHeight><MatrixWidth>{matrix.columns}</MatrixWidth>"
        f"<MatrixHeight>{matrix.rows}</MatrixHeight></TileMatrix>"
        for matrix in matrices
    )
    return (
        f"<TileMatrixSet><ows:Identifier>{grid}</ows:Identifier>"
        f"<ows:SupportedCRS>{name}</ows:SupportedCRS>"
        f"{described}</TileMatrixSet>\n"
    )


def _metres(crs: CRS) -> float:
    """Return the metres of one unit of the CRS, by the rule for scale denominators."""
    if crs.is_geographic:
        return METRES_PER_DEGREE
    return float(crs.axis_info[0].unit_conversion_factor)


def _in_axis_order(crs: CRS, point: tuple[float, float]) -> tuple[float, float]:
    """Return x and y in the order of the axes of the CRS."""
    is_north_first = bool(crs.axis_info) and crs.axis_info[0].direction in ("north", "south")
    return (point[1], point[0]) if is_north_first else point
