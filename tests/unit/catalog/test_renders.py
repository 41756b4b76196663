"""How a raster is drawn is written into its item, and read back."""

import json

import pytest

from geo_platform.catalog.renders import drawings_in, drawings_of, renders
from geo_platform.contracts.raster import ClassColor, Drawing, DrawingStyle

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
    assert set(renders(DRAWINGS["relief"], asset="data")) == {"default", "elevation", "hillshade"}
