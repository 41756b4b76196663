"""The parameters of /raster: what is drawn, where, and how. `raster.py` has the routes.

Called by `raster.py`.
"""

from dataclasses import dataclass, fields
from inspect import signature
from typing import Annotated, Any, Literal

from anyio.to_thread import run_sync
from fastapi import Depends, Path, Query, Request
from rasterio.enums import Resampling

from geo_platform.api.problems import ParametersInvalid
from geo_platform.errors import ParameterInvalid
from geo_platform.serving.raster.cogs import DEFAULT_ASSET
from geo_platform.serving.raster.encoding import PixelFormat
from geo_platform.serving.raster.grids import MAX_ZOOM
from geo_platform.serving.raster.painting import DrawingChoice
from geo_platform.serving.raster.rasters import PictureRequest, RasterArea
from geo_platform.serving.raster.values import crs_of

_RESAMPLING = {
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
CRS_PATTERN = r"^(CRS84|EPSG:[0-9]{1,6})$"
BBOX_PATTERN = r"^-?[0-9.eE+-]{1,30}(,-?[0-9.eE+-]{1,30}){3}$"
BBOX_REMEDY = (
    "Give west,south,east,north, x before y, with south < north. West may be greater than east "
    "across the antimeridian."
)

AssetName = Annotated[
    str, Query(max_length=60, description="Name of the item's COG.", examples=["data"])
]
BandNumbers = Annotated[
    str | None,
    Query(
        pattern=r"^[1-9][0-9]{0,3}(,[1-9][0-9]{0,3}){0,15}$",
        description="Bands, counted from 1. A picture shows three as red, green and blue, or one.",
        examples=["4,3,2"],
    ),
]
ExpressionText = Annotated[
    str | None,
    Query(
        max_length=500,
        description="Band maths in place of bands; `;` separates several.",
        examples=["(b4-b3)/(b4+b3)"],
    ),
]
CrsName = Annotated[
    str, Query(pattern=CRS_PATTERN, description="CRS84 or an EPSG code. Coordinates are x, y.")
]
Bbox = Annotated[
    str,
    Path(
        pattern=BBOX_PATTERN,
        description="west,south,east,north",
        examples=["15,46.9,15.1,47"],
    ),
]
# What OWS clients add to the address of the capabilities, and the only value of each.
_CAPABILITIES = {"service": "WMTS", "request": "GetCapabilities", "version": "1.0.0"}
_SENT_BY_CLIENTS = "As OWS clients send it, with a name in any case. It may be left out."
LongestSide = Annotated[int, Query(ge=1, le=4096, description="Longest side in pixels.")]
Zoom = Annotated[int, Path(ge=0, le=MAX_ZOOM)]
TileIndex = Annotated[int, Path(ge=0, lt=2**MAX_ZOOM)]
TileSide = Annotated[
    int,
    Query(ge=256, le=512, multiple_of=256, description="Pixels of a side. For WebMercatorQuad."),
]


@dataclass(frozen=True)
class Look:
    """The parameters that choose what is drawn and how."""

    asset: AssetName = DEFAULT_ASSET
    render: Annotated[
        str | None,
        Query(max_length=60, description="Name of one of the item's renders.", examples=[None]),
    ] = None
    bands: BandNumbers = None
    expression: ExpressionText = None
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
            pattern=f"^({'|'.join(_RESAMPLING)})$",
            description="Default: nearest for classes and values, else bilinear.",
            examples=["cubic"],
        ),
    ] = None

    def choice(self) -> DrawingChoice:
        """Return what is drawn. Raises ParameterInvalid: a range is not one."""
        return DrawingChoice(
            render=self.render,
            bands=tuple(int(band) for band in self.bands.split(",")) if self.bands else (),
            expression=self.expression,
            ranges=tuple(_range(text) for text in self.rescale or ()),
            color_map=self.colormap,
            resampling=_RESAMPLING[self.resampling] if self.resampling else None,
        )

    def request(self, pixel_format: PixelFormat) -> PictureRequest:
        """Return the request. Raises ParameterInvalid: a range is not one."""
        return PictureRequest(pixel_format, self.asset, self.choice())

    def parameters(self) -> list[tuple[str, str]]:
        """Return the parameters that were given, for an address."""
        single = [(each.name, getattr(self, each.name)) for each in fields(self)]
        found = [(name, value) for name, value in single if isinstance(value, str)]
        if self.asset == DEFAULT_ASSET:
            found.remove(("asset", self.asset))
        return [*found, *(("rescale", text) for text in self.rescale or ())]


async def check_names(request: Request) -> None:
    """Raise ParametersInvalid if the address has parameters that its route does not have.

    A misspelled parameter would else change nothing, unnoticed.
    """
    if not request.app.openapi_schema:
        await run_sync(request.app.openapi)  # takes about a second, once
    route = request.scope["route"]
    described = request.app.openapi()["paths"][route.path_format]["get"].get("parameters", ())
    known = {each["name"] for each in described if each["in"] == "query"}
    unknown = [
        name
        for name in request.query_params
        if name not in known and name.lower() not in known.intersection(_CAPABILITIES)
    ]
    if unknown:
        raise ParametersInvalid([(name, "is not a parameter of this address") for name in unknown])


def check_capabilities_request(
    request: Request,
    _service: Annotated[
        Literal["WMTS"] | None, Query(alias="service", description=_SENT_BY_CLIENTS)
    ] = None,
    _request: Annotated[
        Literal["GetCapabilities"] | None, Query(alias="request", description=_SENT_BY_CLIENTS)
    ] = None,
    _version: Annotated[
        Literal["1.0.0"] | None, Query(alias="version", description=_SENT_BY_CLIENTS)
    ] = None,
) -> None:
    """Raise ParametersInvalid if the parameters ask for something else than these capabilities.

    Names may be in any case (OGC 06-121r9, 11.5.2), which the route's own parameters do not allow.
    """
    faults = [
        (name, f"must be {_CAPABILITIES[name.lower()]}")
        for name, value in request.query_params.multi_items()
        if _CAPABILITIES.get(name.lower(), value) != value
    ]
    if faults:
        raise ParametersInvalid(faults)


class _LookOf:
    """Makes a Look of the parameters that Look describes.

    FastAPI awaits this one; it would make the class itself in a thread of its own.
    """

    __signature__ = signature(Look)

    async def __call__(self, **given: Any) -> Look:
        return Look(**given)


LookOf = Annotated[Look, Depends(_LookOf())]


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ParameterInvalid(f"rescale {text!r} is not two numbers.") from error
    if not low < high or high - low == float("inf"):
        raise ParameterInvalid(f"rescale {text!r} is not an ascending range.")
    return low, high


def area_of(bbox: str, bbox_crs: str, crs: str | None, longest_px: int) -> RasterArea:
    """Return the area. Raises ParameterInvalid: the numbers or a CRS are not valid."""
    try:
        west, south, east, north = (float(part) for part in bbox.split(","))
    except ValueError as error:
        raise ParameterInvalid(f"The bbox {bbox!r} is not valid.", remedy=BBOX_REMEDY) from error
    box_crs = crs_of(bbox_crs)
    if not south < north or not (west < east or (west > east and box_crs.is_geographic)):
        raise ParameterInvalid(f"The bbox {bbox!r} is not an area.", remedy=BBOX_REMEDY)
    return RasterArea((west, south, east, north), box_crs, crs_of(crs) if crs else None, longest_px)
