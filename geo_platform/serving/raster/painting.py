"""Choose how the pixels of a request are drawn: by the item's renders, or by parameters.

Without a parameter a raster is drawn as in its preview: by the render `default` of its item. Items
without renders, published by older releases, are decided on as `raster/picture.py` decides when it
makes the preview, once for each version.

Called by `api/serving/raster_parameters.py` and `rasters.py`.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

import numpy as np
from rasterio.enums import ColorInterp, Resampling
from rasterio.io import DatasetReader

from geo_platform.catalog.renders import DEFAULT_RENDER, drawings_in, drawings_of
from geo_platform.contracts.raster import Drawing, DrawingStyle, RasterType
from geo_platform.drawing import CONTINUOUS_RAMP, ColorRamp
from geo_platform.errors import ParameterInvalid
from geo_platform.raster.picture import (
    PREVIEW_PX,
    WITH_CLASSES,
    RasterView,
    decide_drawing,
    decimated_view,
    percentile_range,
    table_colors,
)
from geo_platform.serving.published import PublishedItem
from geo_platform.serving.raster.expressions import BandExpression, parse_expression
from geo_platform.serving.raster.reading import WindowPixels

MAX_BANDS = 16
_REMEMBERED = 500

T = TypeVar("T")


@dataclass(frozen=True)
class DrawingChoice:
    """What a request says about drawing; None and empty where it says nothing.

    `bands`: three are red, green and blue, one is drawn by a colour map. `expression`: band maths
    in place of bands. `ranges`: for each band the values of the first and the last colour.
    """

    render: str | None = None
    bands: tuple[int, ...] = ()
    expression: str | None = None
    ranges: tuple[tuple[float, float], ...] = ()
    color_map: str | None = None
    resampling: Resampling | None = None


@dataclass(frozen=True)
class Paint:
    """How pixels are read and drawn. `expression`: what is drawn instead of the bands."""

    drawing: Drawing
    expression: BandExpression | None
    ramp: ColorRamp
    resampling: Resampling

    @property
    def bands(self) -> tuple[int, ...]:
        """The bands to read."""
        return self.expression.bands if self.expression else self.drawing.bands

    @property
    def margin(self) -> int:
        """How many more pixels drawing needs on each side."""
        return 1 if self.drawing.style in (DrawingStyle.relief, DrawingStyle.hillshade) else 0

    @property
    def shows_classes(self) -> bool:
        return self.drawing.style in WITH_CLASSES


class Painter:
    """Chooses the paint of requests, and remembers what it had to read for it. Safe for threads."""

    def __init__(self) -> None:
        self._remembered: OrderedDict[Hashable, object] = OrderedDict()
        self._lock = Lock()

    def drawings(self, item: PublishedItem, asset: str, cog: DatasetReader) -> dict[str, Drawing]:
        """Return the drawings of a raster by name; `default` is one of them."""
        found = self._once(
            (item.collection, item.item_id, item.version), lambda: drawings_in(item.document)
        )
        if found is not None:
            return found
        raster_type = _type_of(item, cog)
        return drawings_of(
            self._once((item.version, asset), lambda: decide_drawing(cog, raster_type)[0])
        )

    def paint(
        self, item: PublishedItem, asset: str, cog: DatasetReader, choice: DrawingChoice
    ) -> Paint:
        """Return how a request is drawn.

        Raises ParameterInvalid: a parameter does not suit the raster, or others.
        """
        if choice.expression or choice.bands:
            return self._of_bands(item, asset, cog, choice)
        drawings = self.drawings(item, asset, cog)
        name = choice.render or DEFAULT_RENDER
        if name not in drawings:
            raise ParameterInvalid(
                f"The item {item.item_id!r} has no render {name!r}.",
                remedy=f"Choose one of: {', '.join(drawings)}.",
            )
        drawing = drawings[name]
        if drawing.style is DrawingStyle.palette and not drawing.colors:
            drawing = drawing.model_copy(update={"colors": table_colors(cog)})
        return _paint(_with_ranges(drawing, choice), None, choice)

    def _of_bands(
        self, item: PublishedItem, asset: str, cog: DatasetReader, choice: DrawingChoice
    ) -> Paint:
        if choice.render or (choice.expression and choice.bands):
            raise ParameterInvalid("Give only one of render, bands and expression.")
        expression = parse_expression(choice.expression, cog.count) if choice.expression else None
        bands = tuple(range(1, len(expression.blocks) + 1)) if expression else choice.bands
        if len(bands) not in (1, 3):
            raise ParameterInvalid("A picture shows one band, or three as red, green and blue.")
        check_bands(cog, () if expression else bands)
        style = DrawingStyle.ramp if len(bands) == 1 else DrawingStyle.stretched
        drawing = Drawing(style=style, bands=bands)
        if not choice.ranges:
            key = (item.version, asset, bands, choice.expression)
            ranges = self._once(key, lambda: _ranges(cog, drawing, expression))
            drawing = drawing.model_copy(update={"ranges": ranges})
        return _paint(_with_ranges(drawing, choice), expression, choice)

    def _once(self, key: Hashable, make: Callable[[], T]) -> T:
        with self._lock:
            if key in self._remembered:
                self._remembered.move_to_end(key)
                return self._remembered[key]  # type: ignore[return-value]  # one type for a key
        made = make()
        with self._lock:
            self._remembered[key] = made
            if len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        return made


def _type_of(item: PublishedItem, cog: DatasetReader) -> RasterType:
    """Return the type that the item states, or, if another program made it, that of the bands."""
    stated = item.properties.get("geo_platform:raster_type")
    known = next((each for each in RasterType if each == stated), None)
    if known is not None:
        return known
    if cog.colorinterp[0] is ColorInterp.palette:
        return RasterType.categorical
    # Three bands of any colours are shown together, and one band by a ramp.
    return RasterType.multispectral if cog.count >= 3 else RasterType.continuous


def check_bands(cog: DatasetReader, bands: tuple[int, ...]) -> None:
    """Raise ParameterInvalid if the raster does not have one of the bands, or they are many."""
    if len(bands) > MAX_BANDS:
        raise ParameterInvalid(f"A request reads at most {MAX_BANDS} bands.")
    if missing := [band for band in bands if not 1 <= band <= cog.count]:
        raise ParameterInvalid(
            f"The raster has {cog.count} bands, and no band {missing[0]}.",
            remedy=f"Bands are counted from 1 to {cog.count}.",
        )


def _paint(drawing: Drawing, expression: BandExpression | None, choice: DrawingChoice) -> Paint:
    ramp = CONTINUOUS_RAMP
    if choice.color_map is not None:
        if len(drawing.bands) != 1 or drawing.style in WITH_CLASSES:
            raise ParameterInvalid("A colour map suits a single band that is not of classes.")
        ramp = color_ramp(choice.color_map)
        drawing = drawing.model_copy(update={"style": DrawingStyle.ramp, "typical_slope": None})
    default = Resampling.nearest if drawing.style in WITH_CLASSES else Resampling.bilinear
    return Paint(drawing, expression, ramp, choice.resampling or default)


def _with_ranges(drawing: Drawing, choice: DrawingChoice) -> Drawing:
    if not choice.ranges:
        return drawing
    if drawing.style in WITH_CLASSES:
        raise ParameterInvalid("Classes have their own colours; rescale does not suit them.")
    count = len(drawing.bands)
    if len(choice.ranges) not in (1, count):
        raise ParameterInvalid(f"rescale needs one range, or {count}.")
    ranges = choice.ranges if len(choice.ranges) == count else choice.ranges * count
    style = drawing.style
    if style is DrawingStyle.natural:
        style = DrawingStyle.stretched
    return drawing.model_copy(update={"ranges": ranges, "style": style})


def _ranges(
    cog: DatasetReader, drawing: Drawing, expression: BandExpression | None
) -> tuple[tuple[float, float], ...]:
    """Return the range of each band over the whole raster, so that all tiles are drawn alike."""
    if expression is None:
        view = decimated_view(cog, drawing, PREVIEW_PX)
        return tuple(percentile_range(band, view.valid) for band in view.pixels)
    source = decimated_view(
        cog, Drawing(style=DrawingStyle.ramp, bands=expression.bands), PREVIEW_PX
    )
    valid = np.repeat(source.valid[None], len(source.pixels), axis=0)
    result = expression.evaluate(WindowPixels(source.pixels, valid))
    return tuple(
        percentile_range(band, band_valid)
        for band, band_valid in zip(result.values, result.valid, strict=True)
    )


def color_ramp(name: str) -> ColorRamp:
    """Return a colour map of rio-tiler by its name, such as `magma`.

    Raises ParameterInvalid: there is none, or it is one of classes.
    """
    from rio_tiler.colormap import cmap
    from rio_tiler.errors import ColorMapAlreadyRegistered, InvalidColorMapName

    try:
        colors = cmap.get(name)
    except (InvalidColorMapName, ColorMapAlreadyRegistered, KeyError) as error:
        raise ParameterInvalid(
            f"There is no colour map {name!r}.",
            remedy="Choose a colour map of matplotlib, in lower case: viridis, magma, terrain.",
        ) from error
    if not isinstance(colors, dict) or len(colors) != 256:
        raise ParameterInvalid(f"The colour map {name!r} is one of classes.")
    return tuple(
        (value / 255, (int(color[0]), int(color[1]), int(color[2])))
        for value, color in sorted(colors.items())
    )


def view_of(pixels: WindowPixels, pixel_m: tuple[float, float]) -> RasterView:
    """Return the pixels for drawing: a pixel is valid where one of the bands is."""
    return RasterView(pixels.values, np.asarray(pixels.valid.any(axis=0)), pixel_m)
