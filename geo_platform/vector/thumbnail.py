"""A small map of a dataset as PNG, drawn from a sample.

What belongs here: drawing. What stays out: choosing rows (`sample.py`) and storing.
"""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from pyproj import CRS
from rasterio.errors import NotGeoreferencedWarning
from rasterio.features import rasterize
from rasterio.io import MemoryFile

from geo_platform.grid import Bounds

MEDIA_TYPE = "image/png"
_LONG_SIDE_PX = 512
_SHORT_SIDE_PX = 160
_MARGIN_PX = 12
_SUPERSAMPLING = 2
_LINE_WIDTH_PX = 1.2
_MOST_OUTLINED = 8000
_PAPER, _FILL, _FILL_SMALL, _OUTLINE, _INK = (
    (238, 243, 246),
    (168, 196, 150),
    (128, 164, 114),
    (74, 104, 78),
    (196, 74, 52),
)

Canvas = npt.NDArray[np.float32]


def draw_map(wkb: Sequence[bytes], bounds: Bounds, crs: CRS) -> bytes:
    """PNG, at most 512 pixels a side: polygons filled and outlined, lines and points in ink, north up.

    Degrees are drawn with longitudes shortened by the cosine of the middle latitude.
    """
    geometries, width, height = _in_pixels(
        shapely.from_wkb(np.array(wkb, dtype=object)), bounds, crs
    )
    canvas = np.empty((height, width, 3), dtype=np.float32)
    canvas[:] = _PAPER
    boxes = shapely.bounds(geometries)
    is_dot = ((boxes[:, 2:] - boxes[:, :2]).max(axis=1) < _SUPERSAMPLING) & (
        shapely.get_dimensions(geometries) > 0
    )
    drawn = shapely.simplify(geometries[~is_dot], 0.4, preserve_topology=False)
    dimension = shapely.get_dimensions(drawn)
    areas, lines, points = (drawn[dimension == kind] for kind in (2, 1, 0))
    _paint(canvas, areas, _FILL)
    _dot(canvas, boxes[is_dot])
    _paint(canvas, shapely.boundary(areas) if len(areas) < _MOST_OUTLINED else areas[:0], _OUTLINE)
    _paint(
        canvas, shapely.buffer(lines, _LINE_WIDTH_PX * _SUPERSAMPLING / 2, quad_segs=2), _OUTLINE
    )
    _paint(
        canvas,
        shapely.buffer(points, _point_radius_px(len(points)) * _SUPERSAMPLING, quad_segs=4),
        _INK,
    )
    return _png(_averaged(canvas))


def _point_radius_px(points: int) -> float:
    return 4.5 if points < 200 else 2.5 if points < 4000 else 1.2


def _dot(canvas: Canvas, boxes: npt.NDArray[np.float64]) -> None:
    """What is smaller than a pixel is one pixel, so that many small things still show where they are."""
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2).astype(int)
    x = np.clip(
        centres[:, 0] // _SUPERSAMPLING * _SUPERSAMPLING, 0, canvas.shape[1] - _SUPERSAMPLING
    )
    y = np.clip(
        centres[:, 1] // _SUPERSAMPLING * _SUPERSAMPLING, 0, canvas.shape[0] - _SUPERSAMPLING
    )
    for across in range(_SUPERSAMPLING):
        for down in range(_SUPERSAMPLING):
            canvas[y + down, x + across] = _FILL_SMALL


def _in_pixels(
    geometries: npt.NDArray[np.object_], bounds: Bounds, crs: CRS
) -> tuple[npt.NDArray[np.object_], int, int]:
    """Geometries in pixels of the supersampled canvas, and its width and height."""
    stretch = math.cos(math.radians((bounds.ymin + bounds.ymax) / 2)) if crs.is_geographic else 1.0
    span_x = max((bounds.xmax - bounds.xmin) * max(stretch, 0.1), 1e-12)
    span_y = max(bounds.ymax - bounds.ymin, 1e-12)
    inner = _LONG_SIDE_PX - 2 * _MARGIN_PX
    per_unit = inner / max(span_x, span_y)
    if max(span_x, span_y) <= 1e-12:
        per_unit = 1.0
    width, height = (
        max(_SHORT_SIDE_PX, min(_LONG_SIDE_PX, round(span * per_unit) + 2 * _MARGIN_PX))
        for span in (span_x, span_y)
    )
    x_per_unit = per_unit * max(stretch, 0.1) * _SUPERSAMPLING
    y_per_unit = per_unit * _SUPERSAMPLING
    middle_x, middle_y = (bounds.xmin + bounds.xmax) / 2, (bounds.ymin + bounds.ymax) / 2
    wide, high = width * _SUPERSAMPLING, height * _SUPERSAMPLING

    def move(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.column_stack(
            [
                (xy[:, 0] - middle_x) * x_per_unit + wide / 2,
                (middle_y - xy[:, 1]) * y_per_unit + high / 2,
            ]
        )

    return shapely.transform(geometries, move), wide, high


def _paint(
    canvas: Canvas, geometries: npt.NDArray[np.object_], colour: tuple[int, int, int]
) -> None:
    shapes = [geometry for geometry in geometries if geometry is not None and not geometry.is_empty]
    if not shapes:
        return
    mask = rasterize(
        shapes, out_shape=canvas.shape[:2], fill=0, default_value=1, all_touched=True, dtype="uint8"
    ).astype(bool)
    canvas[mask] = colour


def _averaged(canvas: Canvas) -> npt.NDArray[np.uint8]:
    steps = range(_SUPERSAMPLING)
    # Slices of the whole canvas are added in a sixth of the time that a mean over two short axes takes.
    total = sum(
        (
            canvas[down::_SUPERSAMPLING, across::_SUPERSAMPLING]
            for down in steps
            for across in steps
        ),
        np.float32(0),
    )
    return np.asarray((total / _SUPERSAMPLING**2).round(), dtype=np.uint8)


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    rows, cols, bands = pixels.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.Env(GDAL_PAM_ENABLED="NO"), MemoryFile() as memory:
            with memory.open(
                driver="PNG", width=cols, height=rows, count=bands, dtype="uint8"
            ) as image:
                image.write(np.moveaxis(pixels, 2, 0))
            return bytes(memory.read())
