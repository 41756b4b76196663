"""Every stage takes the same pixels for valid, whichever way a raster marks those that are not.

Rasters with every combination of NaN, nodata, mask, alpha and transparent colours are converted. A
slow and obvious reference says which pixels are valid; the result is read with plain rasterio.
"""

import struct
import tempfile
import warnings
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from geo_platform.contracts.raster import RasterProfiled
from geo_platform.errors import RasterEmpty
from tests.unit.raster.conftest import Chain, north_up

# The previews, which are read to check them, have no georeference.
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

ROWS, COLS = 6, 520  # wide enough for an overview
NODATA = 7.0
# Values of pixels; each occurs often. NODATA is among them.
LEVELS = (0, 1, 7, 30, 200)
TRANSPARENT = (0, 30)


@dataclass(frozen=True)
class Case:
    """What a raster has. `alpha`: the number of the alpha band, 0 for none."""

    dtype: str
    bands: int
    nodata: float | None = None
    has_nan: bool = False
    has_mask: bool = False
    alpha: int = 0
    has_palette: bool = False
    seed: int = 0

    def pixels(self) -> NDArray[Any]:
        random = np.random.default_rng(self.seed)
        pixels = random.choice(np.array(LEVELS), (self.bands, ROWS, COLS)).astype(self.dtype)
        if self.has_nan:
            pixels[random.random(pixels.shape) < 0.2] = np.nan
        if self.alpha:
            pixels[self.alpha - 1] = random.choice(np.array([0, 1, 255]), (ROWS, COLS))
        return pixels

    def mask(self) -> NDArray[np.bool_] | None:
        if not self.has_mask:
            return None
        return np.random.default_rng(self.seed + 1).random((ROWS, COLS)) < 0.7

    def write(self, path: Path) -> None:
        mask = self.mask()
        header: dict[str, Any] = {
            "driver": "GTiff",
            "crs": "EPSG:32618",
            "transform": north_up(500_000, 4_500_000, 10, 10),
            "count": self.bands,
            "height": ROWS,
            "width": COLS,
            "dtype": self.dtype,
            "nodata": self.nodata,
        }
        if self.has_palette:
            header |= {"driver": "HFA"}
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
            rasterio.open(path, "w", **header) as target,
        ):
            if self.has_palette:
                target.write_colormap(
                    1, {n: (n, 9, 9, 0 if n in TRANSPARENT else 255) for n in range(256)}
                )
            elif self.alpha or self.bands > 1:
                target.colorinterp = [
                    ColorInterp.alpha
                    if band == self.alpha
                    else (ColorInterp.gray if band == 1 else ColorInterp.undefined)
                    for band in range(1, self.bands + 1)
                ]
            target.write(self.pixels())
            if mask is not None:
                target.write_mask(mask)


def expected_validity(case: Case) -> NDArray[np.bool_]:
    """Return (bands, rows, cols), one pixel after the other. Alpha itself is valid."""
    pixels, mask = case.pixels(), case.mask()
    valid = np.ones(pixels.shape, dtype=bool)
    data = [band for band in range(case.bands) if band + 1 != case.alpha]
    for row in range(ROWS):
        for col in range(COLS):
            values = [float(pixels[band, row, col]) for band in range(case.bands)]
            for band in data:
                value = values[band]
                if value != value:
                    valid[band, row, col] = False
                elif mask is not None:
                    valid[band, row, col] = mask[row, col]
                elif case.alpha:
                    # Beside alpha, nodata is a colour: missing only as a whole.
                    missing = [values[n] == case.nodata or values[n] != values[n] for n in data]
                    valid[band, row, col] = not all(missing)
                else:
                    valid[band, row, col] = value != case.nodata
                if case.has_palette and value in TRANSPARENT:
                    valid[band, row, col] = False
                if case.alpha and values[case.alpha - 1] == 0:
                    valid[band, row, col] = False
    return valid


def cases() -> st.SearchStrategy[Case]:
    """Return every combination that a file can hold."""

    def fits(case: Case) -> bool:
        is_float = case.dtype.startswith("float")
        return (
            case.alpha <= case.bands
            and not (case.alpha and case.bands == 1)
            and not (case.has_nan and not is_float)
            and not (case.nodata is not None and case.nodata != case.nodata and not is_float)
            and not (
                case.has_palette and (case.dtype != "uint8" or case.bands > 1 or case.has_mask)
            )
        )

    return st.builds(
        Case,
        dtype=st.sampled_from(["uint8", "uint16", "int16", "float32", "float64", "int64"]),
        bands=st.sampled_from([1, 2, 3, 4, 5]),
        nodata=st.sampled_from([None, NODATA, float("nan")]),
        has_nan=st.booleans(),
        has_mask=st.booleans(),
        alpha=st.sampled_from([0, 0, 1, 2, 4, 5]),
        has_palette=st.booleans(),
        seed=st.integers(0, 99),
    ).filter(fits)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(case=cases(), resampling=st.sampled_from(["auto", "average", "nearest"]))
def test_every_stage_agrees_with_the_reference(case: Case, resampling: str) -> None:
    check(case, resampling)


@pytest.mark.parametrize(
    "case",
    [
        Case("float32", 1, has_nan=True),
        Case("float32", 1, nodata=NODATA, has_nan=True),
        Case("float32", 3, nodata=NODATA, has_nan=True),
        Case("float32", 1, has_nan=True, has_mask=True),
        Case("float32", 2, nodata=NODATA, has_nan=True, alpha=2),
        Case("uint8", 3, nodata=NODATA, has_mask=True),
        Case("uint8", 4, alpha=4),
        Case("uint8", 4, alpha=4, nodata=NODATA),
        Case("uint8", 4, alpha=4, has_mask=True),
        Case("uint8", 5, alpha=5),
        Case("uint16", 3, alpha=1),
        Case("int16", 2, alpha=2),
        Case("uint8", 1, has_palette=True),
        Case("uint8", 1, has_palette=True, nodata=NODATA),
        Case("int64", 2, nodata=NODATA),
    ],
    ids=repr,
)
def test_each_way_to_mark_a_pixel(case: Case) -> None:
    check(case, "auto")


def check(case: Case, resampling: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / f"source.{'img' if case.has_palette else 'tif'}"
        case.write(path)
        chain = Chain(folder / "chain")
        valid = expected_validity(case)
        data = [band for band in range(case.bands) if band + 1 != case.alpha]
        if not valid[data].any():
            with pytest.raises(RasterEmpty):
                chain.profile(path)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # Python 3.12 and newer have NumPy 2.5: rasterio 1.4 sets the shape of its arrays.
            warnings.filterwarnings("ignore", "Setting the shape on a NumPy array")
            profiled = chain.profile(path)
            stored = chain.cogs(profiled, overview_resampling=resampling)
        check_figures(profiled, case, valid)
        cog = chain.file(stored)
        check_cog(cog, case, valid)
        # GDAL averages colours, not entries, where there is a colour table.
        if resampling == "average" and not case.has_palette:
            check_overview(cog, case, valid)
        preview = chain.root / "store" / stored.preview.container / stored.preview.key
        assert stored.drawing is not None
        drawn = [band - 1 for band in stored.drawing.bands]
        check_preview(preview, valid[drawn].any(axis=0))


def check_figures(profiled: RasterProfiled, case: Case, valid: NDArray[np.bool_]) -> None:
    for band, pixels, is_valid in zip(profiled.bands, case.pixels(), valid, strict=True):
        if band.index == case.alpha:
            continue
        values = pixels[is_valid].astype(float)
        assert (band.statistics is None) == (values.size == 0)
        if band.statistics is not None:
            assert band.statistics.minimum == values.min()
            assert band.statistics.maximum == values.max()
            assert band.statistics.mean == pytest.approx(values.mean())
            assert band.statistics.valid_percent == pytest.approx(100 * is_valid.mean(), abs=0.01)


def gdal_validity(dataset: Any, case: Case) -> NDArray[np.bool_]:
    """Return (bands, rows, cols) by GDAL's own masks of the bands, alpha left out."""
    return np.stack(
        [dataset.read_masks(band) > 0 for band in dataset.indexes if band != case.alpha]
    )


def check_cog(path: Path, case: Case, valid: NDArray[np.bool_]) -> None:
    data = [band for band in range(case.bands) if band + 1 != case.alpha]
    with rasterio.open(path) as cog:
        by_gdal = gdal_validity(cog, case)
        np.testing.assert_array_equal(by_gdal.any(axis=0), valid[data].any(axis=0))
        if rasterio.enums.MaskFlags.nodata in cog.mask_flag_enums[0]:
            np.testing.assert_array_equal(by_gdal, valid[data])
        pixels = cog.read()
        for band in range(case.bands):
            where = valid[band]
            np.testing.assert_array_equal(pixels[band][where], case.pixels()[band][where])


def check_overview(path: Path, case: Case, valid: NDArray[np.bool_]) -> None:
    """Check each pixel of the overview: the mean of the valid ones of its four, if there are any.

    Where a mask is stored, it stands for all bands, so a band's own NaN is left out of account.
    """
    data = [band for band in range(case.bands) if band + 1 != case.alpha]

    def in_fours(values: NDArray[Any]) -> NDArray[Any]:
        return values.reshape(*values.shape[:-2], ROWS // 2, 2, COLS // 2, 2)

    with rasterio.open(path, OVERVIEW_LEVEL=0) as overview:
        by_gdal, pixels = gdal_validity(overview, case), overview.read()
        of_fours = in_fours(valid[data]).any(axis=(2, 4))
        np.testing.assert_array_equal(by_gdal.any(axis=0), of_fours.any(axis=0))
        is_whole = case.bands - bool(case.alpha) == 1 or not case.has_nan
        if not is_whole and rasterio.enums.MaskFlags.nodata not in overview.mask_flag_enums[0]:
            return
        source = case.pixels().astype(float)
        for index, band in enumerate(data):
            is_valid = in_fours(valid[band])
            values = np.where(is_valid, in_fours(source[band]), 0.0)
            count = is_valid.sum(axis=(1, 3))
            mean = values.sum(axis=(1, 3)) / np.maximum(count, 1)
            tolerance = 0.01 if case.dtype.startswith("float") else 1.01
            where = (count > 0) & by_gdal[index]
            assert np.abs(pixels[band].astype(float) - mean)[where].max(initial=0) <= tolerance


def check_preview(path: Path, valid: NDArray[np.bool_]) -> None:
    with rasterio.open(path) as picture:
        opaque = picture.read(4) > 0 if picture.count == 4 else np.ones(valid.shape, dtype=bool)
    np.testing.assert_array_equal(opaque, valid)


def write_png(path: Path, depth: int, kind: int, row: bytes, *chunks: tuple[bytes, bytes]) -> Path:
    """Write a PNG of 16 x 16 equal rows, with chunks such as PLTE and tRNS, and a world file."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 16, 16, depth, kind, 0, 0, 0)
    parts = [
        (b"IHDR", header),
        *chunks,
        (b"IDAT", zlib.compress((b"\0" + row) * 16)),
        (b"IEND", b""),
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    path.with_suffix(".pgw").write_text("10\n0\n0\n-10\n500005\n4499995\n")
    return path


GRAY, COLOR, PALETTE = 0, 2, 3
COLORS = [(1000, 2000, 3000)] * 4 + [(1000, 2000, 3000 + n) for n in range(1, 13)]
PLTE = (b"PLTE", bytes(range(48)))


@pytest.mark.parametrize(
    ("depth", "kind", "row", "chunks", "findings"),
    [
        (8, GRAY, bytes([7] * 4 + list(range(8, 20))), [(b"tRNS", b"\0\x07")], set()),
        (
            16,
            COLOR,
            b"".join(struct.pack(">HHH", *color) for color in COLORS),
            [(b"tRNS", struct.pack(">HHH", *COLORS[0]))],
            set(),
        ),
        (8, PALETTE, bytes([1] * 4 + [0] * 12), [PLTE, (b"tRNS", b"\xff\0")], set()),
        (8, PALETTE, bytes([0, 2] * 2 + [1] * 12), [PLTE, (b"tRNS", b"\0\xff\0")], set()),
        (
            8,
            PALETTE,
            bytes([0, 2] * 2 + [1] * 12),
            [PLTE, (b"tRNS", b"\0\x80\0")],
            {"PALETTE_ALPHA_LEFT"},
        ),
    ],
    ids=["gray", "colour of 16 bits", "one entry", "two entries", "a half entry"],
)
def test_transparency_of_a_png(
    tmp_path: Path,
    depth: int,
    kind: int,
    row: bytes,
    chunks: list[tuple[bytes, bytes]],
    findings: set[str],
) -> None:
    path = write_png(tmp_path / "a.png", depth, kind, row, *chunks)
    chain = Chain(tmp_path / "chain")
    profiled = chain.profile(path, path.with_suffix(".pgw"), input_crs="EPSG:32618")
    assert {warning.code for warning in profiled.warnings} == findings
    stored = chain.cogs(profiled)
    valid = np.tile(np.arange(16) >= 4, (16, 1))
    with rasterio.open(chain.file(stored)) as cog, rasterio.open(path) as source:
        np.testing.assert_array_equal(cog.read(), source.read())
        for band in cog.indexes:
            np.testing.assert_array_equal(cog.read_masks(band) > 0, valid)
    check_preview(chain.root / "store" / stored.preview.container / stored.preview.key, valid)


def test_the_reference_notices_a_difference() -> None:
    case = Case("uint8", 3, nodata=NODATA)
    assert not np.array_equal(
        expected_validity(case), expected_validity(replace(case, nodata=None))
    )
