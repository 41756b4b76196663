"""How a raster is drawn is written into its item, and read back."""

import json

import numpy as np
import pytest

from geo_platform.catalog.renders import drawings_in, drawings_of, renders
from geo_platform.contracts.raster import ClassColor, Drawing, DrawingStyle
from geo_platform.raster.picture import RasterView, pictures

CLASSES = (
    ClassColor(value=2, color=(200, 30, 40)),
    ClassColor(value=10, color=(10, 160, 70)),
)
DRAWINGS = {
    "natural": Drawing(style=DrawingStyle.natural, bands=(3, 2, 1)),
    "stretched": Drawing(
        style=DrawingStyle.stretched, bands=(1, 2, 3), ranges=((0.0, 10.0), (1.5, 9.0), (2.0, 2.0))
    ),
    "relief": Drawing(
        style=DrawingStyle.relief, bands=(1,), ranges=((-10.0, 3000.5),), typical_slope=0.25
    ),
    "ramp": Drawing(style=DrawingStyle.ramp, bands=(1,), ranges=((-1.0, 1.0),)),
    "palette": Drawing(style=DrawingStyle.palette, bands=(1,), colors=CLASSES),
    "long palette": Drawing(style=DrawingStyle.palette, bands=(1,)),
    "classes": Drawing(style=DrawingStyle.classes, bands=(1,), colors=CLASSES),
    "fractions": Drawing(
        style=DrawingStyle.classes,
        bands=(1,),
        colors=(ClassColor(value=-1.5, color=(1, 2, 3)), ClassColor(value=1e-7, color=(4, 5, 6))),
    ),
}


@pytest.mark.parametrize("drawing", DRAWINGS.values(), ids=DRAWINGS)
def test_a_drawing_is_read_back_as_it_was(drawing: Drawing) -> None:
    written = json.loads(json.dumps(renders(drawing, asset="data"), sort_keys=True))
    read = drawings_in({"properties": {"renders": written}})
    assert read == drawings_of(drawing)
    assert read["default"] == drawing


def test_an_item_without_renders_has_no_drawings() -> None:
    assert drawings_in({"properties": {}}) is None
    # Renders of somebody else say nothing about the styles of the platform.
    assert drawings_in({"properties": {"renders": {"default": {"assets": ["data"]}}}}) is None


def test_clients_that_do_not_know_the_style_find_what_they_need() -> None:
    render = renders(DRAWINGS["ramp"], asset="data")["default"]
    assert render["assets"] == ["data"]
    assert (render["rescale"], render["colormap_name"]) == ([[-1.0, 1.0]], "viridis")
    render = renders(DRAWINGS["classes"], asset="data")["default"]
    assert render["colormap"] == {"2": [200, 30, 40, 255], "10": [10, 160, 70, 255]}
    assert render["resampling"] == "nearest"
    elevation = renders(DRAWINGS["relief"], asset="data")
    assert {name: each["colormap_name"] for name, each in elevation.items()} == {
        "default": "terrain",
        "elevation": "terrain",
        "hillshade": "gray",
    }
    assert all(each["rescale"] == [[-10.0, 3000.5]] for each in elevation.values())


@pytest.mark.parametrize("name", ["default", "elevation", "hillshade"])
def test_a_colour_map_for_other_clients_changes_no_picture(name: str) -> None:
    rows, cols = np.mgrid[0:40, 0:60]
    heights = (1500 + 1400 * np.sin(rows / 9) * np.cos(cols / 7)).astype(np.float32)
    view = RasterView(heights[None], np.ones(heights.shape, dtype=bool), (10.0, 10.0))
    drawing = drawings_of(DRAWINGS["relief"])[name]
    written = json.loads(json.dumps(renders(DRAWINGS["relief"], asset="data")))
    changed = {
        other: render | {"colormap_name": "magma", "colormap": {"0": [255, 0, 0, 255]}}
        for other, render in written.items()
    }
    for found in (written, changed):
        read = drawings_in({"properties": {"renders": found}})
        assert read is not None
        assert read[name] == drawing
        assert pictures(view, read[name]) == pictures(view, drawing)
