"""Write how a raster is drawn into its STAC item (render extension 2.0.0), and read it back.

`geo_platform/drawing.py` and `raster/picture.py` decide how a raster is drawn.

Called by `raster_item.py`, `serving/raster/painting.py` and `serving/raster/rasters.py`.
"""

import re
from collections.abc import Mapping
from typing import Any

from geo_platform.contracts.raster import ClassColor, Drawing, DrawingStyle

RENDER_EXTENSION = "https://stac-extensions.github.io/render/v2.0.0/schema.json"

CLASSIFICATION_EXTENSION = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"

# The render that tiles and pictures use without a parameter.
DEFAULT_RENDER = "default"

_STYLE = "geo_platform:style"
_TYPICAL_SLOPE = "geo_platform:typical_slope"
_TITLES = {
    DrawingStyle.natural: "Colours as they are",
    DrawingStyle.stretched: "Colours stretched from the 2nd to the 98th percentile",
    DrawingStyle.relief: "Elevation in colours, shaded",
    DrawingStyle.tint: "Elevation in colours",
    DrawingStyle.hillshade: "Hillshade",
    DrawingStyle.ramp: "Values from the 2nd to the 98th percentile",
    DrawingStyle.palette: "Classes in the colours of the file",
    DrawingStyle.classes: "Classes",
}
_BY_CLASS = (DrawingStyle.palette, DrawingStyle.classes)
# For other clients, by the names of matplotlib in lower case, as rio-tiler has them: the colour map
# that is nearest to the colours of the style. The platform itself draws by the style.
_COLOR_MAPS = {
    DrawingStyle.ramp: "viridis",
    DrawingStyle.relief: "terrain",
    DrawingStyle.tint: "terrain",
    DrawingStyle.hillshade: "gray",
}


def drawings_of(drawing: Drawing) -> dict[str, Drawing]:
    """Return every drawing of a raster by its name, given its default drawing."""
    drawings = {DEFAULT_RENDER: drawing}
    if drawing.style is DrawingStyle.relief:
        drawings["elevation"] = drawing.model_copy(update={"style": DrawingStyle.tint})
        drawings["hillshade"] = drawing.model_copy(update={"style": DrawingStyle.hillshade})
    return drawings


def renders(drawing: Drawing, *, asset: str) -> dict[str, dict[str, Any]]:
    """Return the property `renders` of an item whose asset is drawn so.

    Clients that do not know the style draw the bands by `rescale` and the colour map, if there is
    one: a hillshade as the heights in gray, elevation without a shade.
    """
    return {name: _render(each, asset) for name, each in drawings_of(drawing).items()}


def classes_of(drawing: Drawing) -> list[dict[str, Any]]:
    """Return `classification:classes` of a raster whose classes have names, else nothing.

    The extension allows letters, digits, `-` and `_` in a name. The title is that of the source.
    """
    colors = [each for each in drawing.colors if isinstance(each.value, int)]
    if not any(each.name for each in colors):
        return []
    return [
        {
            "value": each.value,
            "name": re.sub("[^0-9A-Za-z_-]+", "_", each.name or "") or f"class_{each.value}",
            "color_hint": "".join(f"{channel:02X}" for channel in each.color),
            **({"title": each.name} if each.name else {}),
        }
        for each in colors
        # Colour tables are filled up with entries that the raster does not have.
        if each.name or drawing.style is DrawingStyle.classes
    ]


def render_titles(drawings: Mapping[str, Drawing]) -> dict[str, str]:
    """Return the titles of drawings by their names."""
    return {name: _TITLES[drawing.style] for name, drawing in drawings.items()}


def _render(drawing: Drawing, asset: str) -> dict[str, Any]:
    style = drawing.style
    render: dict[str, Any] = {
        "assets": [asset],
        "title": _TITLES[style],
        "bidx": list(drawing.bands),
        "resampling": "nearest" if style in _BY_CLASS else "bilinear",
        _STYLE: style.value,
    }
    if drawing.ranges:
        render["rescale"] = [list(limits) for limits in drawing.ranges]
    if style in _COLOR_MAPS:
        render["colormap_name"] = _COLOR_MAPS[style]
    if drawing.colors:
        render["colormap"] = {str(each.value): [*each.color, 255] for each in drawing.colors}
    if drawing.typical_slope is not None:
        render[_TYPICAL_SLOPE] = drawing.typical_slope
    return render


def drawings_in(item: Mapping[str, Any]) -> dict[str, Drawing] | None:
    """Return the drawings of an item by name, or None if it was published without `renders`."""
    found = item["properties"].get("renders", {})
    drawings = {name: _drawing(render) for name, render in found.items() if _STYLE in render}
    return drawings if DEFAULT_RENDER in drawings else None


def _drawing(render: Mapping[str, Any]) -> Drawing:
    style = DrawingStyle(render[_STYLE])
    color_map = render.get("colormap", {}) if style in _BY_CLASS else {}
    colors = tuple(
        ClassColor(
            value=float(value) if "." in value or "e" in value else int(value),
            color=(color[0], color[1], color[2]),
        )
        for value, color in color_map.items()
    )
    return Drawing(
        style=style,
        bands=tuple(int(band) for band in render["bidx"]),
        ranges=tuple((float(low), float(high)) for low, high in render.get("rescale", ())),
        typical_slope=render.get(_TYPICAL_SLOPE),
        # A catalog does not keep the order of a JSON object.
        colors=tuple(sorted(colors, key=lambda each: each.value)),
    )
