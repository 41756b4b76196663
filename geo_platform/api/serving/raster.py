"""The routes of /raster: tiles and pictures of published rasters, by collection and item.

An address names an item and parameters from closed lists, never a file. `serving/raster/` reads
and draws; here requests are parsed, bounded in number and time, and answered.

Called by `api/app.py`.
"""

import math
import os
from collections.abc import Callable
from typing import Annotated, Any, TypeVar
from urllib.parse import quote, urlencode

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from geo_platform.api.problems import problem_responses
from geo_platform.api.services import Services
from geo_platform.api.serving.freshness import Fresh
from geo_platform.api.serving.raster_parameters import (
    BBOX_PATTERN,
    BBOX_REMEDY,
    CRS_PATTERN,
    AssetName,
    BandNumbers,
    Bbox,
    CrsName,
    ExpressionText,
    LongestSide,
    Look,
    LookOf,
    TileIndex,
    TileSide,
    Zoom,
    area_of,
    check_capabilities_request,
    check_names,
)
from geo_platform.errors import ParameterInvalid, TimeExceeded
from geo_platform.serving.published import PublishedItem
from geo_platform.serving.raster.cogs import DEFAULT_ASSET, cog_assets
from geo_platform.serving.raster.descriptions import (
    TILE_PX,
    WMTS_FORMATS,
    tile_json,
    tile_matrix_set,
    wmts_capabilities,
)
from geo_platform.serving.raster.encoding import PixelFormat
from geo_platform.serving.raster.grids import TileGrid, no_native_tiles
from geo_platform.serving.raster.rasters import (
    EncodedPixels,
    PublishedRasters,
    TilePlace,
)
from geo_platform.serving.raster.values import BandFigures, crs_of

PREFIX = "/raster/collections/{collection_id}/items/{item_id}"
_PROBLEMS = (404, 409, 410, 422)
_PICTURES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The picture, or the values.",
        "content": {
            media_type: {"schema": {"type": "string", "format": "binary"}}
            for media_type in sorted({each.media_type for each in PixelFormat})
        },
    },
    304: {"description": "The client has this answer (If-None-Match)."},
}

_NATIVE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The tile matrix set.", "content": {"application/json": {}}},
    304: _PICTURES[304],
}
_XML: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The capabilities.",
        "content": {"application/xml": {"schema": {"type": "string"}}},
    },
    304: _PICTURES[304],
}

T = TypeVar("T")


class RasterWorkers:
    """Runs the reading of rasters in so many threads, each for so long. For one event loop."""

    def __init__(self, workers: int, seconds: float) -> None:
        self._limiter = anyio.CapacityLimiter(workers)
        self._seconds = seconds

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread.

        Raises TimeExceeded: there is no result after the time, in which it may have to wait. What
        GDAL reads meanwhile ends by its own time limits.
        """
        with anyio.move_on_after(self._seconds):
            return await run_sync(work, limiter=self._limiter, abandon_on_cancel=True)
        raise TimeExceeded(
            f"The answer took over {self._seconds:g} s.",
            remedy="Ask for a smaller area or fewer bands, or try again when the server is less "
            "busy.",
        )


class TileJson(BaseModel):
    """TileJSON 3.0.0 of the tiles of WebMercatorQuad."""

    tilejson: str = Field(examples=["3.0.0"])
    name: str = Field(examples=["sierra_nevada_srtm"])
    scheme: str = Field(examples=["xyz"])
    tiles: list[str] = Field(description="Template of the addresses of tiles.")
    tile_size: int = Field(
        alias="tileSize", description="Side of a tile in pixels. MapLibre reads it."
    )
    minzoom: int
    maxzoom: int
    bounds: list[float] = Field(description="west, south, east, north in degrees")
    center: list[float] = Field(description="longitude, latitude, zoom")


class RasterDescription(BaseModel):
    """How a published raster is drawn, and its addresses."""

    collection: str = Field(examples=["rasters"])
    item_id: str = Field(examples=["sierra_nevada_srtm"])
    version: str = Field(examples=["0f1e2d3c4b5a6978"])
    assets: list[str] = Field(description="The item's COGs; parameter `asset`.")
    renders: dict[str, str] = Field(description="Titles of the renders; parameter `render`.")
    minzoom: int = Field(description="First useful zoom of WebMercatorQuad.")
    maxzoom: int = Field(description="Last useful zoom of WebMercatorQuad.")
    native_maxzoom: int | None = Field(description="Null if the grid has no tiles of its own.")
    links: dict[str, str] = Field(description="Addresses by name.")


class PointValues(BaseModel):
    """The values of one pixel."""

    x: float
    y: float
    crs: str = Field(examples=["CRS84"])
    row: int
    col: int
    values: dict[str, float | int | None] = Field(
        description="By band or part of the expression; null where it is not valid.",
        examples=[{"b1": 1204.5}],
    )


class BandSummary(BaseModel):
    """Figures of the valid, finite pixels of a band."""

    min: float | int | None
    max: float | int | None
    mean: float | None
    stddev: float | None
    valid_percent: float
    pixels: int
    percentiles: dict[str, float] = Field(examples=[{"2": 310.0, "98": 3120.5}])
    histogram: list[list[float]] | None = Field(
        description="Counts, and the edges of the bins, one more."
    )


class RasterStatistics(BaseModel):
    """Figures of each band."""

    is_exact: bool = Field(description="False if an overview was read.")
    bands: dict[str, BandSummary]


def raster_routes(services: Services) -> APIRouter:
    """Return the routes of /raster."""
    router = APIRouter(
        prefix=PREFIX,
        tags=["pictures"],
        dependencies=[Depends(check_names)],
        responses=problem_responses(*_PROBLEMS),
    )
    settings = services.settings
    rasters = PublishedRasters(
        services.objects, services.gdal_sources, max_pixels=settings.serving_raster_max_pixels
    )
    count = settings.serving_raster_workers or 2 * (os.cpu_count() or 1)
    workers = RasterWorkers(count, settings.serving_raster_seconds)

    async def encoded(fresh: Fresh, work: Callable[[], EncodedPixels]) -> Response:
        found = await workers.run(work)
        return Response(found.content, media_type=found.media_type, headers=dict(fresh.headers))

    def address_of(request: Request, item: PublishedItem) -> str:
        root = settings.api_url or str(request.base_url)
        path = f"{quote(item.collection, safe='')}/items/{quote(item.item_id, safe='')}"
        return f"{root.rstrip('/')}/raster/collections/{path}"

    @router.get("", response_model=RasterDescription)
    async def describe_raster(
        fresh: Fresh, request: Request, response: Response, asset: AssetName = DEFAULT_ASSET
    ) -> RasterDescription:
        """Return how the raster is drawn, and its addresses."""
        item = fresh.item
        facts = await workers.run(lambda: rasters.facts(item, asset))
        address = address_of(request, item)
        response.headers.update(fresh.headers)
        return RasterDescription(
            collection=item.collection,
            item_id=item.item_id,
            version=item.version,
            assets=cog_assets(item),
            renders=dict(facts.renders),
            minzoom=facts.zooms[0],
            maxzoom=facts.zooms[1],
            native_maxzoom=facts.native.max_zoom if facts.native else None,
            links={
                "tilejson": f"{address}/tilejson.json",
                "wmts": f"{address}/WMTSCapabilities.xml",
                "preview": f"{address}/preview.webp?v={item.version}",
                "statistics": f"{address}/statistics",
            },
        )

    @router.get("/tiles/{grid}/{z}/{x}/{y}.{pixel_format}", responses=_PICTURES)
    async def get_raster_tile(
        fresh: Fresh,
        look: LookOf,
        grid: TileGrid,
        z: Zoom,
        x: TileIndex,
        y: TileIndex,
        pixel_format: PixelFormat,
        tilesize: TileSide = TILE_PX,
    ) -> Response:
        """Return a tile, drawn by the item's render `default` without parameters."""
        asked = look.request(pixel_format)
        address = TilePlace(grid, z, x, y, tilesize)
        return await encoded(fresh, lambda: rasters.tile(fresh.item, address, asked))

    @router.get("/tiles/{grid}", responses=_NATIVE)
    async def get_tile_matrix_set(
        fresh: Fresh, grid: TileGrid, asset: AssetName = DEFAULT_ASSET
    ) -> JSONResponse:
        """Return the tile matrix set (OGC 17-083r4): the zooms that the raster has."""
        facts = await workers.run(lambda: rasters.facts(fresh.item, asset))
        if grid is TileGrid.native and facts.native is None:
            raise no_native_tiles()
        return JSONResponse(tile_matrix_set(facts, grid), headers=dict(fresh.headers))

    @router.get("/tilejson.json", response_model=TileJson)
    async def get_raster_tilejson(
        fresh: Fresh,
        look: LookOf,
        request: Request,
        response: Response,
        tile_format: Annotated[
            PixelFormat, Query(description="Format of the tiles.")
        ] = PixelFormat.webp,
        tilesize: TileSide = TILE_PX,
    ) -> dict[str, Any]:
        """Return TileJSON. Its tiles have these parameters, and the version of the item."""
        look.request(tile_format)
        facts = await workers.run(lambda: rasters.facts(fresh.item, look.asset))
        side = [("tilesize", tilesize)] if tilesize != TILE_PX else []
        query = urlencode([*look.parameters(), *side, ("v", fresh.item.version)])
        address = address_of(request, fresh.item)
        tiles = f"{address}/tiles/WebMercatorQuad/{{z}}/{{x}}/{{y}}.{tile_format}?{query}"
        response.headers.update(fresh.headers)
        return tile_json(facts, tiles, tile_px=tilesize)

    @router.get(
        "/WMTSCapabilities.xml",
        responses=_XML,
        response_class=Response,
        dependencies=[Depends(check_capabilities_request)],
    )
    async def get_wmts_capabilities(
        fresh: Fresh,
        request: Request,
        asset: AssetName = DEFAULT_ASSET,
        tile_format: Annotated[
            PixelFormat | None,
            Query(description="The only format of the tiles. Default: PNG, WebP and JPEG."),
        ] = None,
    ) -> Response:
        """Return WMTS 1.0.0 capabilities: a layer for each render, RESTful tiles."""
        facts = await workers.run(lambda: rasters.facts(fresh.item, asset))
        address = address_of(request, fresh.item)
        of_asset = {"asset": asset} if asset != DEFAULT_ASSET else {}
        given = {**of_asset, **({"tile_format": tile_format} if tile_format else {})}
        own = f"{address}/WMTSCapabilities.xml{'?' if given else ''}{urlencode(given)}"
        content = wmts_capabilities(
            facts,
            address,
            own,
            {"v": fresh.item.version, **of_asset},
            formats=(tile_format,) if tile_format else WMTS_FORMATS,
        )
        return Response(content, media_type="application/xml", headers=dict(fresh.headers))

    @router.get("/preview.{pixel_format}", responses=_PICTURES)
    async def get_raster_preview(
        fresh: Fresh, look: LookOf, pixel_format: PixelFormat, max_size: LongestSide = 1024
    ) -> Response:
        """Return the whole raster on its own grid; without parameters the item's preview."""
        asked = look.request(pixel_format)
        return await encoded(fresh, lambda: rasters.preview(fresh.item, max_size, asked))

    @router.get("/bbox/{bbox}.{pixel_format}", responses=_PICTURES)
    async def get_raster_area(
        fresh: Fresh,
        look: LookOf,
        bbox: Bbox,
        pixel_format: PixelFormat,
        bbox_crs: CrsName = "CRS84",
        crs: Annotated[
            str | None,
            Query(pattern=CRS_PATTERN, description="Of the picture. Default: the raster's own."),
        ] = None,
        max_size: LongestSide = 1024,
    ) -> Response:
        """Return a part of the raster, north up, with its own resolution up to `max_size`."""
        asked = look.request(pixel_format)
        area = area_of(bbox, bbox_crs, crs, max_size)
        return await encoded(fresh, lambda: rasters.area(fresh.item, area, asked))

    @router.get("/point/{x},{y}", response_model=PointValues)
    async def get_raster_point(
        fresh: Fresh,
        response: Response,
        x: Annotated[float, Path(description="Longitude, or x in `crs`.", examples=[-119.5])],
        y: Annotated[float, Path(description="Latitude, or y in `crs`.", examples=[37.7])],
        crs: CrsName = "CRS84",
        asset: AssetName = DEFAULT_ASSET,
        bands: BandNumbers = None,
        expression: ExpressionText = None,
    ) -> PointValues:
        """Return the values of the pixel that holds a point."""
        choice = Look(asset=asset, bands=bands, expression=expression).choice()
        if not (math.isfinite(x) and math.isfinite(y)):
            raise ParameterInvalid("A coordinate is not a finite number.", remedy=BBOX_REMEDY)
        found = await workers.run(
            lambda: rasters.values_at(fresh.item, asset, (x, y), crs_of(crs), choice)
        )
        response.headers.update(fresh.headers)
        return PointValues(x=x, y=y, crs=crs, row=found.row, col=found.col, values=found.values)

    @router.get("/statistics", response_model=RasterStatistics)
    async def get_raster_statistics(
        fresh: Fresh,
        response: Response,
        bbox: Annotated[
            str | None,
            Query(pattern=BBOX_PATTERN, description="west,south,east,north", examples=[None]),
        ] = None,
        bbox_crs: CrsName = "CRS84",
        asset: AssetName = DEFAULT_ASSET,
        bands: BandNumbers = None,
        expression: ExpressionText = None,
    ) -> RasterStatistics:
        """Return figures of the valid pixels of the raster, or of a part of it."""
        choice = Look(asset=asset, bands=bands, expression=expression).choice()
        area = area_of(bbox, bbox_crs, None, 2**31) if bbox else None
        found = await workers.run(lambda: rasters.statistics(fresh.item, asset, area, choice))
        response.headers.update(fresh.headers)
        return RasterStatistics(
            is_exact=found.is_exact, bands={each.name: _figures(each) for each in found.bands}
        )

    return router


def _figures(band: BandFigures) -> BandSummary:
    return BandSummary(
        min=band.minimum,
        max=band.maximum,
        mean=band.mean,
        stddev=band.stddev,
        valid_percent=band.valid_percent,
        pixels=band.pixels,
        percentiles=band.percentiles,
        histogram=[list(part) for part in band.histogram] if band.histogram else None,
    )
