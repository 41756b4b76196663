"""Draw a small map of a dataset as PNG, from a sample of its geometries.

`clean_stream.py` chooses the sample.

Called by `load.py`.
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
from geo_platform.longitudes import degrees_per_unit

MEDIA_TYPE = "image/png"
_LONG_SIDE_PX = 512
_SHORT_SIDE_PX = 160
_MARGIN_PX = 12
_SUPERSAMPLING = 2
_LINE_WIDTH_PX = 1.2
_MAX_OUTLINED = 8000
_BACKGROUND, _FILL, _SMALL_FILL, _OUTLINE, _POINT = (
    (238, 243, 246),
    (168, 196, 150),
    (128, 164, 114),
    (74, 104, 78),
    (196, 74, 52),
)

Canvas = npt.NDArray[np.float32]


def draw_map(
    wkb: Sequence[bytes],
    bounds: Bounds,
    crs: CRS,
    *,
    over_antimeridian: tuple[float, float] | None = None,
) -> bytes:
    """Return a PNG of at most 512 pixels per side, north up.

    `bounds` are those of the whole dataset, in `crs`. Polygons are filled and outlined; lines and
    points are drawn over the polygons. In a geographic CRS, longitudes are scaled by the cosine of
    the middle latitude. `over_antimeridian` are the west and the east, with west > east, of rows in
    a geographic CRS that cross the antimeridian, which is then inside the map.
    """
    sampled = shapely.from_wkb(np.array(wkb, dtype=object))
    if over_antimeridian is not None:
        sampled, bounds = _joined_over_antimeridian(sampled, bounds, over_antimeridian, crs)
    geometries, width, height = _to_pixels(sampled, bounds, crs)
    canvas = np.empty((height, width, 3), dtype=np.float32)
    canvas[:] = _BACKGROUND
    boxes = shapely.bounds(geometries)
    is_dot = ((boxes[:, 2:] - boxes[:, :2]).max(axis=1) < _SUPERSAMPLING) & (
        shapely.get_dimensions(geometries) > 0
    )
    drawn = shapely.simplify(geometries[~is_dot], 0.4, preserve_topology=False)
    dimension = shapely.get_dimensions(drawn)
    areas, lines, points = (drawn[dimension == kind] for kind in (2, 1, 0))
    _draw(canvas, areas, _FILL)
    _draw_dots(canvas, boxes[is_dot])
    _draw(canvas, shapely.boundary(areas) if len(areas) < _MAX_OUTLINED else areas[:0], _OUTLINE)
    _draw(canvas, shapely.buffer(lines, _LINE_WIDTH_PX * _SUPERSAMPLING / 2, quad_segs=2), _OUTLINE)
    _draw(
        canvas,
        shapely.buffer(points, _point_radius_px(len(points)) * _SUPERSAMPLING, quad_segs=4),
        _POINT,
    )
    return _png(_downsampled(canvas))


def _joined_over_antimeridian(
    geometries: npt.NDArray[np.object_], bounds: Bounds, sides: tuple[float, float], crs: CRS
) -> tuple[npt.NDArray[np.object_], Bounds]:
    """Return the geometries and their bounds with the western hemisphere east of the eastern."""
    west, east = sides
    turn = 360.0 / degrees_per_unit(crs)
    gap = (west + east) / 2

    def join(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        x = (xy[:, 0] + turn / 2) % turn - turn / 2
        # The antimeridian itself belongs to both sides; its parts keep the side that they have.
        x = np.where(xy[:, 0] == turn / 2, turn / 2, x)
        return np.column_stack([np.where(x < gap, x + turn, x), xy[:, 1]])

    joined = shapely.transform(geometries, join)
    box = Bounds(xmin=west, ymin=bounds.ymin, xmax=east + turn, ymax=bounds.ymax)
    return np.asarray(joined, dtype=object), box


def _point_radius_px(points: int) -> float:
    return 4.5 if points < 200 else 2.5 if points < 4000 else 1.2


def _draw_dots(canvas: Canvas, boxes: npt.NDArray[np.float64]) -> None:
    """Draw each geometry smaller than a pixel as one pixel; otherwise it would be invisible."""
    centres = ((boxes[:, :2] + boxes[:, 2:]) / 2).astype(int)
    x = np.clip(
        centres[:, 0] // _SUPERSAMPLING * _SUPERSAMPLING, 0, canvas.shape[1] - _SUPERSAMPLING
    )
    y = np.clip(
        centres[:, 1] // _SUPERSAMPLING * _SUPERSAMPLING, 0, canvas.shape[0] - _SUPERSAMPLING
    )
    for across in range(_SUPERSAMPLING):
        for down in range(_SUPERSAMPLING):
            canvas[y + down, x + across] = _SMALL_FILL


def _to_pixels(
    geometries: npt.NDArray[np.object_], bounds: Bounds, crs: CRS
) -> tuple[npt.NDArray[np.object_], int, int]:
    """Return the geometries in pixels of the supersampled canvas, and the size of the canvas."""
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

    def transform(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.column_stack(
            [
                (xy[:, 0] - middle_x) * x_per_unit + wide / 2,
                (middle_y - xy[:, 1]) * y_per_unit + high / 2,
            ]
        )

    return shapely.transform(geometries, transform), wide, high


def _draw(
    canvas: Canvas, geometries: npt.NDArray[np.object_], colour: tuple[int, int, int]
) -> None:
    shapes = [geometry for geometry in geometries if geometry is not None and not geometry.is_empty]
    if not shapes:
        return
    mask = rasterize(
        shapes, out_shape=canvas.shape[:2], fill=0, default_value=1, all_touched=True, dtype="uint8"
    ).astype(bool)
    canvas[mask] = colour


def _downsampled(canvas: Canvas) -> npt.NDArray[np.uint8]:
    steps = range(_SUPERSAMPLING)
    # Adding slices of the whole canvas takes a sixth of the time of a mean over two short axes.
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
