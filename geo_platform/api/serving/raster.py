"""The routes of /raster: tiles and pictures of published rasters, by collection and item.

An address names an item and parameters from closed lists, never a file. `serving/raster/` reads
and draws; here requests are parsed, bounded in number and time, and answered.

Called by `api/app.py`.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Path, Query, Response
from rasterio.enums import Resampling

from geo_platform.api.problems import problem_responses
from geo_platform.api.services import Services
from geo_platform.api.serving.freshness import Fresh
from geo_platform.errors import ParameterInvalid, TimeExceeded
from geo_platform.serving.raster.cogs import DEFAULT_ASSET
from geo_platform.serving.raster.encoding import PixelFormat
from geo_platform.serving.raster.grids import MAX_ZOOM, TileGrid
from geo_platform.serving.raster.painting import DrawingChoice
from geo_platform.serving.raster.rasters import (
    EncodedPixels,
    PictureRequest,
    PublishedRasters,
    TileAddress,
)

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

T = TypeVar("T")


def _resamplings() -> dict[str, Resampling]:
    return {
        each.name: each
        for each in (
            Resampling.nearest,
            Resampling.bilinear,
            Resampling.cubic,
            Resampling.average,
            Resampling.mode,
        )
    }


_NUMBERS = r"^ *-?[0-9.eE+-]{1,30} *, *-?[0-9.eE+-]{1,30} *$"


@dataclass(frozen=True)
class Look:
    """The parameters that choose what is drawn and how."""

    asset: Annotated[
        str, Query(max_length=60, description="Name of the item's COG.", examples=["data"])
    ] = DEFAULT_ASSET
    render: Annotated[
        str | None,
        Query(max_length=60, description="Name of one of the item's renders.", examples=[None]),
    ] = None
    bands: Annotated[
        str | None,
        Query(
            pattern=r"^[1-9][0-9]{0,3}(,[1-9][0-9]{0,3}){0,15}$",
            description="Bands, counted from 1: three for red, green and blue, or one.",
            examples=["4,3,2"],
        ),
    ] = None
    expression: Annotated[
        str | None,
        Query(
            max_length=500,
            description="Band maths in place of bands; `;` separates several.",
            examples=["(b4-b3)/(b4+b3)"],
        ),
    ] = None
    rescale: Annotated[
        list[Annotated[str, Query(pattern=_NUMBERS)]] | None,
        Query(
            max_length=3,
            description="Values of the first and the last colour, for all bands or for each.",
            examples=[["0,3000"]],
        ),
    ] = None
    colormap: Annotated[
        str | None,
        Query(
            pattern="^[a-z0-9_]{1,40}$",
            description="Colour map of one band, by its name in matplotlib in lower case.",
            examples=["magma"],
        ),
    ] = None
    resampling: Annotated[
        str | None,
        Query(
            pattern=f"^({'|'.join(_resamplings())})$",
            description="Default: nearest for classes and values, else bilinear.",
            examples=["cubic"],
        ),
    ] = None

    def request(self, pixel_format: PixelFormat) -> PictureRequest:
        """Return the request. Raises ParameterInvalid: a range is not one."""
        return PictureRequest(
            pixel_format,
            self.asset,
            DrawingChoice(
                render=self.render,
                bands=tuple(int(band) for band in self.bands.split(",")) if self.bands else (),
                expression=self.expression,
                ranges=tuple(_range(text) for text in self.rescale or ()),
                color_map=self.colormap,
                resampling=_resamplings()[self.resampling] if self.resampling else None,
            ),
        )


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ParameterInvalid(f"rescale {text!r} is not two numbers.") from error
    if not low < high or high - low == float("inf"):
        raise ParameterInvalid(f"rescale {text!r} is not an ascending range.")
    return low, high


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


def raster_routes(services: Services) -> APIRouter:
    """Return the routes of /raster."""
    router = APIRouter(prefix=PREFIX, tags=["pictures"], responses=problem_responses(*_PROBLEMS))
    settings = services.settings
    rasters = PublishedRasters(services.objects, max_pixels=settings.serving_raster_max_pixels)
    workers = RasterWorkers(
        settings.serving_raster_workers or 2 * (os.cpu_count() or 1),
        settings.serving_raster_seconds,
    )
    Zoom = Annotated[int, Path(ge=0, le=MAX_ZOOM)]  # noqa: N806  # a type
    Place = Annotated[int, Path(ge=0, lt=2**MAX_ZOOM)]  # noqa: N806  # a type
    LookOf = Annotated[Look, Depends()]  # noqa: N806  # a type

    def answer(fresh: Fresh, encoded: EncodedPixels) -> Response:
        return Response(encoded.content, media_type=encoded.media_type, headers=dict(fresh.headers))

    @router.get("/tiles/{grid}/{z}/{x}/{y}.{pixel_format}", responses=_PICTURES)
    async def get_raster_tile(
        fresh: Fresh,
        look: LookOf,
        grid: TileGrid,
        z: Zoom,
        x: Place,
        y: Place,
        pixel_format: PixelFormat,
        tilesize: Annotated[
            int, Query(ge=256, le=512, multiple_of=256, description="For WebMercatorQuad.")
        ] = 256,
    ) -> Response:
        """Return a tile, drawn by the item's render `default` without parameters."""
        request = look.request(pixel_format)
        address = TileAddress(grid, z, x, y, tilesize)
        return answer(fresh, await workers.run(lambda: rasters.tile(fresh.item, address, request)))

    @router.get("/preview.{pixel_format}", responses=_PICTURES)
    async def get_raster_preview(
        fresh: Fresh,
        look: LookOf,
        pixel_format: PixelFormat,
        max_size: Annotated[
            int, Query(ge=1, le=4096, description="Longest side in pixels.")
        ] = 1024,
    ) -> Response:
        """Return the whole raster on its own grid; without parameters the item's preview."""
        request = look.request(pixel_format)
        return answer(
            fresh, await workers.run(lambda: rasters.preview(fresh.item, max_size, request))
        )

    return router
