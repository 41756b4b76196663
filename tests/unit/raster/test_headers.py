"""Headers that GDAL reads but a COG cannot repeat as they are: packed bits, palettes, `.prj`."""

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

from geo_platform.errors import (
    BoundsImplausible,
    CrsMissing,
    GeotransformMissing,
    PlatformError,
    SourceUnreadable,
)
from tests.support.cases import CASES
from tests.unit.raster.conftest import Chain, WriteRaster, smooth


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("uint8", 1), ("uint8", 7), ("uint16", 12), ("uint32", 24), ("float32", 16)],
)
def test_pixels_of_packed_bits_are_kept(
    chain: Chain, write_raster: WriteRaster, dtype: str, bits: int
) -> None:
    pixels = (np.arange(600 * 600).reshape(1, 600, 600) % 2 ** min(bits, 11)).astype(dtype)
    path = write_raster("packed.tif", pixels, nbits=bits)
    stored = chain.cogs(chain.profile(path, raster_type="continuous"))
    with rasterio.open(chain.file(stored)) as cog:
        np.testing.assert_array_equal(cog.read(), pixels)
        assert cog.dtypes == (dtype,)


def palette(target: Any) -> None:
    target.colorinterp = [ColorInterp.palette] + [ColorInterp.alpha] * (target.count - 1)


@pytest.mark.parametrize("bands", [1, 2])
def test_a_palette_without_a_colour_table_becomes_gray(
    chain: Chain, write_raster: WriteRaster, bands: int
) -> None:
    pixels = smooth(bands, 30, 40)
    profiled = chain.profile(write_raster("palette.tif", pixels, change=palette))
    assert "COLOR_TABLE_MISSING" in [warning.code for warning in profiled.warnings]
    with rasterio.open(chain.file(chain.cogs(profiled))) as cog:
        np.testing.assert_array_equal(cog.read(), pixels)
        assert cog.colorinterp[0] is ColorInterp.gray


def test_colour_tables_of_several_bands_are_left_out_with_a_finding(
    chain: Chain, write_raster: WriteRaster
) -> None:
    def change(target: Any) -> None:
        for band in target.indexes:
            target.write_colormap(band, {0: (0, 0, 0, 255), 1: (255, 0, 0, 255)})

    pixels = smooth(2, 30, 40)
    profiled = chain.profile(write_raster("classes.img", pixels, change=change, driver="HFA"))
    assert "COLOR_TABLE_LEFT" in [warning.code for warning in profiled.warnings]
    with rasterio.open(chain.file(chain.cogs(profiled))) as cog:
        np.testing.assert_array_equal(cog.read(), pixels)


IMAGES = {"PNG": ".pgw", "JPEG": ".jgw", "JP2OpenJPEG": ".j2w", "GTiff": ".tfw"}
EXTENSIONS = {"PNG": ".png", "JPEG": ".jpg", "JP2OpenJPEG": ".jp2", "GTiff": ".tif"}


def write_image(folder: Path, driver: str, prj: str) -> tuple[Path, Path, Path]:
    """Write an image without a georeference of its own, with a world file and a `.prj`."""
    folder.mkdir(exist_ok=True)
    path = folder / f"photo{EXTENSIONS[driver]}"
    shape: dict[str, Any] = {"width": 64, "height": 48, "count": 3, "dtype": "uint8"}
    with (
        rasterio.Env(GDAL_PAM_ENABLED="NO"),
        rasterio.open(path, "w", driver=driver, **shape) as image,
    ):
        image.write(smooth(3, 48, 64))
    world, projection = path.with_suffix(IMAGES[driver]), path.with_suffix(".prj")
    world.write_text("10\n0\n0\n-10\n500005\n5499995\n")
    projection.write_text(prj)
    return path, world, projection


PRJ = (CASES / "phototif.prj").read_text()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("driver", IMAGES)
def test_a_prj_beside_an_image_is_its_crs(chain: Chain, tmp_path: Path, driver: str) -> None:
    profiled = chain.profile(*write_image(tmp_path, driver, PRJ))
    assert (profiled.crs.authority_code, profiled.crs.came_from) == ("EPSG:25832", "file")
    with rasterio.open(chain.file(chain.cogs(profiled))) as cog:
        assert cog.crs.to_epsg() == 25832
        assert cog.transform.almost_equals(Affine(10, 0, 500000, 0, -10, 5500000))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_prj_in_an_archive_counts_too(chain: Chain, tmp_path: Path) -> None:
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for part in write_image(tmp_path / "in", "GTiff", PRJ):
            archive.write(part, f"flight/{part.stem}{part.suffix.replace('prj', 'PRJ')}")
    assert chain.profile(path).crs.authority_code == "EPSG:25832"


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    "text",
    [
        "no CRS at all",
        "+init=/etc/hostname:x +type=crs",
        'GEOGCS["x",DATUM["d",SPHEROID["s",6378137,298.257],'
        'EXTENSION["PROJ4_GRIDS","/etc/hostname"]],PRIMEM["g",0],UNIT["degree",0.0174532925]]',
    ],
)
def test_a_prj_that_is_no_crs_is_named(chain: Chain, tmp_path: Path, text: str) -> None:
    image = write_image(tmp_path, "GTiff", text)
    with pytest.raises(CrsMissing, match=r"\.prj"):
        chain.profile(*image)
    assert chain.profile(*image, input_crs="EPSG:25832").crs.authority_code == "EPSG:25832"


def test_a_crs_in_the_file_counts_more_than_one_beside_it(
    chain: Chain, write_raster: WriteRaster, tmp_path: Path
) -> None:
    path = write_raster("own.tif", smooth(1, 30, 40))
    shutil.copy(CASES / "phototif.prj", tmp_path / "own.prj")
    assert chain.profile(path, tmp_path / "own.prj").crs.authority_code == "EPSG:32618"


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"scales": (float("nan"),)}, SourceUnreadable),
        ({"offsets": (float("inf"),)}, SourceUnreadable),
    ],
)
def test_a_senseless_scale_is_bad_input(
    chain: Chain, write_raster: WriteRaster, change: dict[str, Any], refusal: type[PlatformError]
) -> None:
    def set_header(target: Any) -> None:
        for name, value in change.items():
            setattr(target, name, value)

    with pytest.raises(refusal, match=r"Band 1"):
        chain.profile(write_raster("scale.tif", smooth(1, 30, 40), change=set_header))


def test_pixels_without_a_size_are_bad_input(chain: Chain, write_raster: WriteRaster) -> None:
    flat = {"transform": Affine(0.001, 0, 10, 0, -1e-310, 50), "crs": "EPSG:4326"}
    with pytest.raises(BoundsImplausible, match="too small"):
        chain.profile(write_raster("flat.tif", smooth(1, 30, 40), **flat))


def test_pixel_sizes_without_a_tie_point_place_nothing(
    chain: Chain, write_raster: WriteRaster, tmp_path: Path
) -> None:
    content = write_raster("tie.tif", smooth(1, 30, 40)).read_bytes()
    tie_points = (33922).to_bytes(2, "little") + (12).to_bytes(2, "little")
    assert content.count(tie_points) == 1
    start = content.index(tie_points) + 4
    path = tmp_path / "untied.tif"
    path.write_bytes(content[:start] + (5).to_bytes(4, "little") + content[start + 4 :])
    with pytest.raises(GeotransformMissing):
        chain.profile(path)


def test_incomplete_rational_polynomials_are_not_used(
    chain: Chain, write_raster: WriteRaster, tmp_path: Path
) -> None:
    path = write_raster("rpc.tif", smooth(1, 30, 40))
    sidecar = tmp_path / "rpc.tif.aux.xml"
    sidecar.write_text(
        '<PAMDataset><Metadata domain="RPC"><MDI key="LINE_OFF">1</MDI></Metadata></PAMDataset>'
    )
    warnings = chain.profile(path, sidecar).warnings
    assert [warning.code for warning in warnings] == ["RPCS_NOT_USED"]


def test_a_prj_that_is_not_utf8_is_bad_input(chain: Chain, tmp_path: Path) -> None:
    grid, projection = tmp_path / "a.asc", tmp_path / "a.prj"
    grid.write_text("ncols 2\nnrows 1\nxllcorner 5\nyllcorner 50\ncellsize 1\n1 2\n")
    wkt = CASES.joinpath("no_nodata.prj").read_bytes()
    projection.write_bytes(wkt.replace(b"ETRS", b"\xee(k^", 1))
    with pytest.raises(SourceUnreadable, match="UTF-8"):
        chain.profile(grid, projection)
