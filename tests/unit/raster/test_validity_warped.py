"""A reprojected COG has the source's valid pixels, and no value of a missing one in the others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from geo_platform.errors import NodataConflict
from tests.unit.raster.conftest import Chain, WriteRaster, smooth

ROWS, COLS = 120, 160
LOW, HIGH = 1, 120
MISSING = np.zeros((ROWS, COLS), dtype=bool)
MISSING[:, :40] = True


def values(bands: int, dtype: str, missing: float | None, *, of_band: int | None = None) -> Any:
    """Return smooth values from 1 to 120, with the value `missing` in the west."""
    pixels = smooth(bands, ROWS, COLS, dtype, HIGH)
    if missing is not None:
        where = slice(None) if of_band is None else slice(of_band - 1, of_band)
        pixels[where, MISSING] = missing
    return pixels


def with_alpha(pixels: NDArray[Any], band: int) -> NDArray[Any]:
    pixels[band - 1] = np.where(MISSING, 0, 255)
    return pixels


def alpha_at(band: int) -> Any:
    def change(target: Any) -> None:
        target.colorinterp = [
            ColorInterp.alpha if index == band else ColorInterp.undefined
            for index in target.indexes
        ]

    return change


KINDS: dict[str, tuple[NDArray[Any], dict[str, Any]]] = {
    "nan": (values(1, "float32", np.nan), {}),
    "nan and nodata": (values(1, "float32", np.nan), {"nodata": -9999}),
    "nan and mask": (values(1, "float32", np.nan), {"mask": np.ones((ROWS, COLS), dtype=bool)}),
    "mask and nodata": (values(3, "uint8", None), {"nodata": 50, "mask": ~MISSING}),
    "64 bits": (values(1, "int64", -5), {"nodata": -5}),
    "alpha 5": (with_alpha(values(5, "uint8", None), 5), {"change": alpha_at(5)}),
    "alpha 1": (with_alpha(values(3, "uint16", None), 1), {"change": alpha_at(1)}),
    "alpha and nodata": (
        with_alpha(values(4, "uint8", None), 4),
        {"change": alpha_at(4), "nodata": 50},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_missing_pixels_stay_missing(chain: Chain, write_raster: WriteRaster, kind: str) -> None:
    pixels, options = KINDS[kind]
    stored = chain.cogs(
        chain.profile(write_raster("a.tif", pixels, **options)), target_crs="EPSG:4326"
    )
    with rasterio.open(chain.file(stored)) as cog:
        data = [
            band
            for band, color in zip(cog.indexes, cog.colorinterp, strict=True)
            if color is not ColorInterp.alpha
        ]
        valid = np.any([cog.read_masks(band) > 0 for band in data], axis=0)
        assert valid.mean() == pytest.approx(0.75, abs=0.03)
        inside = np.array(cog.read(data)[:, valid], dtype=np.float64)
    assert LOW <= inside.min() <= inside.max() <= HIGH


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("float32", -9999.0), ("float32", None), ("uint8", 0.0)]
)
def test_a_band_without_data_does_not_take_that_of_another(
    chain: Chain, write_raster: WriteRaster, dtype: str, nodata: float | None
) -> None:
    missing = np.nan if nodata is None else nodata
    path = write_raster("a.tif", values(2, dtype, missing, of_band=1), nodata=nodata)
    stored = chain.cogs(chain.profile(path), target_crs="EPSG:4326")
    with rasterio.open(chain.file(stored)) as cog:
        for band, fraction in ((1, 0.75), (2, 1.0)):
            valid = cog.read_masks(band) > 0
            assert valid.mean() == pytest.approx(fraction, abs=0.03)
            assert cog.read(band)[valid].min() >= LOW


def test_a_value_for_all_bands_must_be_free(chain: Chain, tmp_path: Path) -> None:
    path = tmp_path / "bands.img"
    header: dict[str, Any] = {"crs": "EPSG:32618", "width": COLS, "height": ROWS, "count": 2}
    transform = rasterio.Affine(10, 0, 500_000, 0, -10, 4_500_000)
    with rasterio.open(
        path, "w", driver="HFA", dtype="uint8", transform=transform, **header
    ) as image:
        image.write(values(2, "uint8", None))
    sidecar = tmp_path / "bands.img.aux.xml"
    bands = "".join(
        f'<PAMRasterBand band="{band}"><NoDataValue>{value}</NoDataValue></PAMRasterBand>'
        for band, value in ((1, 0), (2, 255))
    )
    sidecar.write_text(f"<PAMDataset>{bands}</PAMDataset>")
    with pytest.raises(NodataConflict, match="valid pixels of the value 50"):
        chain.cogs(chain.profile(path, sidecar, nodata=50.0))
    stored = chain.cogs(chain.profile(path, sidecar, nodata=254.0))
    with rasterio.open(chain.file(stored)) as cog:
        assert cog.nodatavals == (254, 254)
