"""Decide how a raster is drawn: the bands to show and the style, from what is known of the bands.

`raster/picture.py` completes the decision with figures of the pixels and draws; the catalog writes
it into the item (`catalog/renders.py`), by which tiles are drawn.

Called by `raster/picture.py` and `serving/raster/painting.py`.
"""

from collections.abc import Sequence

from geo_platform.contracts.raster import DrawingStyle, RasterType

# Stops of a colour ramp: (position from 0 to 1, colour).
ColorRamp = tuple[tuple[float, tuple[int, int, int]], ...]
ELEVATION_RAMP: ColorRamp = (
    (0.0, (44, 105, 79)),
    (0.25, (148, 176, 112)),
    (0.5, (222, 205, 147)),
    (0.75, (164, 120, 84)),
    (1.0, (250, 250, 250)),
)

# viridis (van der Walt and Smith, CC0), perceptually uniform, at every 17th of its 256 colours.
_VIRIDIS = (
    (68, 1, 84),
    (72, 25, 107),
    (70, 47, 124),
    (64, 67, 135),
    (56, 86, 139),
    (48, 103, 141),
    (41, 120, 142),
    (35, 136, 141),
    (30, 152, 138),
    (34, 167, 132),
    (53, 183, 120),
    (83, 197, 103),
    (121, 209, 81),
    (165, 218, 53),
    (210, 225, 27),
    (253, 231, 36),
)
CONTINUOUS_RAMP: ColorRamp = tuple((stop / 15, color) for stop, color in enumerate(_VIRIDIS))

# matplotlib's tab10 without its last two (CC0).
CATEGORY_COLORS = (
    (31, 119, 180),
    (255, 127, 14),
    (44, 160, 44),
    (214, 39, 40),
    (148, 103, 189),
    (140, 86, 75),
    (227, 119, 194),
    (127, 127, 127),
)

# Colour tables and lists of classes with more entries stay in the file.
MAX_CLASSES = 256

_WITH_SEVERAL_BANDS = (
    RasterType.rgb,
    RasterType.rgba,
    RasterType.nir,
    RasterType.multispectral,
)


def bands_to_show(raster_type: RasterType, color_names: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of the bands to show, three or one.

    `color_names`: GDAL's colour interpretation of each band. The bands are those marked red, green
    and blue, else the first three bands of a raster type with several bands, else the first band.
    Alpha, which may be any band, is not shown.
    """
    names = {name: index for index, name in enumerate(color_names, start=1)}
    if {"red", "green", "blue"} <= set(names):
        return names["red"], names["green"], names["blue"]
    data = [index for index, name in enumerate(color_names, start=1) if name != "alpha"]
    if raster_type in _WITH_SEVERAL_BANDS and len(data) >= 3:
        return data[0], data[1], data[2]
    return (data[0],) if data else (1,)


def drawing_style(
    raster_type: RasterType, bands: Sequence[int], *, dtype: str, has_color_table: bool
) -> DrawingStyle:
    """Return the style of a raster whose `bands` are shown; the first that fits.

    `dtype`: numpy's name for the type of the values. `has_color_table`: of the first band.
    """
    if has_color_table:
        return DrawingStyle.palette
    if len(bands) == 3:
        shows_colors = dtype == "uint8" and raster_type in (RasterType.rgb, RasterType.rgba)
        return DrawingStyle.natural if shows_colors else DrawingStyle.stretched
    if raster_type is RasterType.categorical:
        return DrawingStyle.classes
    if raster_type is RasterType.dem:
        return DrawingStyle.relief
    return DrawingStyle.ramp
