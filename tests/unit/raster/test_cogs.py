"""Convert every kind of raster, and check the COG independently of the platform's own checks."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp, MaskFlags
from rio_cogeo.cogeo import cog_validate
from shapely.geometry import Point, shape

from geo_platform.contracts.raster import CogStored, OutputTier
from geo_platform.errors import BoundsImplausible, RasterEmpty
from tests.unit.raster.conftest import Chain, WriteRaster, north_up, smooth

DTYPES = [
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float32",
    "float64",
]


def read(chain: Chain, stored: CogStored, tier: int = 0) -> NDArray[Any]:
    with rasterio.open(chain.file(stored, tier)) as cog:
        return np.asarray(cog.read())


@pytest.mark.parametrize("compression", ["zstd", "deflate"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_kept_bit_for_bit(
    chain: Chain, write_raster: WriteRaster, dtype: str, compression: str
) -> None:
    pixels = smooth(1, 90, 70, dtype, 120)
    stored = chain.cogs(chain.profile(write_raster("a.tif", pixels)), compression=compression)
    np.testing.assert_array_equal(read(chain, stored), pixels)
    cog = stored.cogs[0]
    assert (cog.verification.compared_exactly, cog.verification.differing_pixels) == (True, 0)
    assert cog.verification.sampled_pixels == pixels.size


def test_a_valid_cog_with_overviews_and_no_leftovers(
    chain: Chain, write_raster: WriteRaster
) -> None:
    stored = chain.cogs(
        chain.profile(write_raster("rgb.tif", smooth(3, 1100, 1300), photometric="RGB"))
    )
    path = chain.file(stored)
    assert cog_validate(str(path), strict=True, quiet=True)[0]
    with rasterio.open(path) as cog:
        assert (cog.overviews(1), cog.block_shapes[0]) == ([2, 4], (512, 512))
        assert cog.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"] == "ZSTD"
    assert not list(chain.scratch.iterdir())


def test_metadata_of_bands_survives(chain: Chain, write_raster: WriteRaster) -> None:
    def change(target: Any) -> None:
        target.scales, target.offsets = (0.1, 2.0), (5.0, -1.0)
        target.units, target.descriptions = ("m", "K"), ("elevation", "température")
        target.update_tags(TIFFTAG_DATETIME="2020:01:02 03:04:05", survey="north")
        target.update_tags(2, wavelength="11")

    path = write_raster("metadata.tif", smooth(2, 40, 50, "int16", 2000), nodata=-1, change=change)
    profiled = chain.profile(path)
    for options in ({}, {"target_crs": "EPSG:3857"}):
        with rasterio.open(chain.file(chain.cogs(profiled, **options))) as cog:
            assert (cog.scales, cog.offsets) == ((0.1, 2.0), (5.0, -1.0))
            assert (cog.units, cog.descriptions) == (("m", "K"), ("elevation", "température"))
            assert cog.tags()["survey"] == "north"
            assert cog.tags()["TIFFTAG_DATETIME"] == "2020:01:02 03:04:05"
            assert cog.tags(2)["wavelength"] == "11"
            assert cog.nodatavals == (-1, -1)


def test_other_tag_domains_survive_unless_bands_have_tags_too(
    chain: Chain, write_raster: WriteRaster
) -> None:
    def change(target: Any) -> None:
        target.update_tags(ns="MYDOMAIN", made_by="hand")

    def both(target: Any) -> None:
        change(target)
        target.update_tags(1, wavelength="11")

    for options in ({}, {"target_crs": "EPSG:3857"}):
        stored = chain.cogs(
            chain.profile(write_raster("domain.tif", smooth(1, 40, 50), change=change)), **options
        )
        with rasterio.open(chain.file(stored)) as cog:
            assert cog.tags(ns="MYDOMAIN") == {"made_by": "hand"}
    profiled = chain.profile(write_raster("both.tif", smooth(1, 40, 50), change=both))
    assert [warning.code for warning in profiled.warnings] == ["TAG_DOMAINS_LEFT"]
    with rasterio.open(chain.file(chain.cogs(profiled))) as cog:
        assert cog.tags(1)["wavelength"] == "11"


@pytest.mark.parametrize("target", [None, "EPSG:3857"])
def test_colour_tables_survive(chain: Chain, write_raster: WriteRaster, target: str | None) -> None:
    table = {0: (0, 0, 0, 0), 1: (200, 30, 30, 255), 2: (30, 200, 30, 255), 3: (30, 30, 200, 255)}
    pixels = np.repeat(np.repeat(np.arange(16, dtype=np.uint8).reshape(4, 4) % 4, 30, 0), 30, 1)[
        None
    ]
    path = write_raster(
        "classes.tif", pixels, nodata=0, change=lambda target: target.write_colormap(1, table)
    )
    stored = chain.cogs(chain.profile(path), target_crs=target)
    with rasterio.open(chain.file(stored)) as cog:
        found = cog.colormap(1)
        assert [found[value] for value in (1, 2, 3)] == [table[value] for value in (1, 2, 3)]
        assert set(np.unique(cog.read())) <= {0, 1, 2, 3}
        assert cog.colorinterp == (ColorInterp.palette,)


@pytest.mark.parametrize("target", [None, "EPSG:4326"])
def test_masks_survive(chain: Chain, write_raster: WriteRaster, target: str | None) -> None:
    mask = np.ones((200, 240), dtype=bool)
    mask[:80] = False
    stored = chain.cogs(
        chain.profile(write_raster("mask.tif", smooth(3, 200, 240), mask=mask, photometric="RGB")),
        target_crs=target,
    )
    with rasterio.open(chain.file(stored)) as cog:
        assert cog.mask_flag_enums[0] == [MaskFlags.per_dataset]
        assert (cog.dataset_mask() > 0).mean() == pytest.approx(0.6, abs=0.03)


def test_nan_nodata_survives_and_reprojects(chain: Chain, write_raster: WriteRaster) -> None:
    pixels = smooth(1, 120, 130, "float32", 3000)
    pixels[0, :40] = np.nan
    profiled = chain.profile(write_raster("nan.tif", pixels, nodata=float("nan")))
    np.testing.assert_array_equal(read(chain, chain.cogs(profiled)), pixels)
    warped = read(chain, chain.cogs(profiled, target_crs="EPSG:4326"))
    assert np.isnan(warped).mean() == pytest.approx(1 / 3, abs=0.05)
    assert np.nanmax(warped) <= pixels[0, 40:].max()


def test_the_users_nodata_and_crs_are_in_the_cog(chain: Chain, write_raster: WriteRaster) -> None:
    pixels = smooth(1, 60, 50)
    pixels[0, :5] = 0
    stored = chain.cogs(
        chain.profile(write_raster("bare.tif", pixels, crs=None), input_crs="EPSG:32618", nodata=0)
    )
    with rasterio.open(chain.file(stored)) as cog:
        assert (cog.crs.to_epsg(), cog.nodata) == (32618, 0)
        np.testing.assert_array_equal(cog.read(), pixels)


def test_an_overridden_crs_is_in_the_cog(chain: Chain, write_raster: WriteRaster) -> None:
    profiled = chain.profile(
        write_raster("wrong.tif", smooth(1, 60, 50)), input_crs="EPSG:32619", override_crs=True
    )
    with rasterio.open(chain.file(chain.cogs(profiled))) as cog:
        assert cog.crs.to_epsg() == 32619


def test_bands_with_different_nodata_get_the_users_one(chain: Chain, tmp_path: Path) -> None:
    path = tmp_path / "differing.img"
    pixels = np.stack([smooth(1, 40, 40)[0], smooth(1, 40, 40)[0]])
    pixels[0, 0], pixels[1, 1] = 251, 252
    with rasterio.open(
        path,
        "w",
        driver="HFA",
        width=40,
        height=40,
        count=2,
        dtype="uint8",
        crs="EPSG:32618",
        transform=north_up(5e5, 4.5e6, 10, 10),
    ) as target:
        target._set_nodatavals((251, 252))
        target.write(pixels)
    stored = chain.cogs(chain.profile(path, nodata=255))
    with rasterio.open(chain.file(stored)) as cog:
        found = cog.read()
        assert cog.nodatavals == (255, 255)
        assert (found[0, 0] == 255).all()
        assert (found[1, 1] == 255).all()
        np.testing.assert_array_equal(found[:, 2:], pixels[:, 2:])


def test_rotated_and_south_up_grids_are_kept(chain: Chain, write_raster: WriteRaster) -> None:
    for name, place in (
        (
            "rotated.tif",
            Affine.translation(500_000, 4_500_000) @ Affine.rotation(30) @ Affine.scale(10, -10),
        ),
        ("south.tif", Affine(10, 0, 500_000, 0, 10, 4_500_000)),
    ):
        pixels = smooth(1, 50, 60)
        stored = chain.cogs(chain.profile(write_raster(name, pixels, transform=place)))
        with rasterio.open(chain.file(stored)) as cog:
            np.testing.assert_allclose(tuple(cog.transform)[:6], tuple(place)[:6])
            np.testing.assert_array_equal(cog.read(), pixels)


def values_at(path: Path, lon: NDArray[Any], lat: NDArray[Any]) -> NDArray[Any]:
    with rasterio.open(path) as dataset:
        x, y = Transformer.from_crs(4326, dataset.crs, always_xy=True).transform(lon, lat)
        return np.array([value[0] for value in dataset.sample(np.column_stack([x, y]))])


@pytest.mark.parametrize("target", ["EPSG:3857", "EPSG:4326", "EPSG:32619", "EPSG:5070"])
@pytest.mark.parametrize("turn", [0, 25])
def test_reprojected_values_keep_their_position(
    chain: Chain, write_raster: WriteRaster, target: str, turn: int
) -> None:
    place = Affine.translation(500_000, 4_500_000) @ Affine.rotation(turn) @ Affine.scale(10, -10)
    row, col = np.mgrid[0:300, 0:300]
    pixels = (1000 + 3 * row + 5 * col).astype("float32")[None]
    profiled = chain.profile(write_raster("plane.tif", pixels, transform=place))
    stored = chain.cogs(profiled, target_crs=target)
    assert stored.cogs[0].was_reprojected
    assert stored.cogs[0].verification.differing_pixels == 0
    with rasterio.open(chain.file(stored)) as cog:
        assert cog.crs.to_string() == target
    rows, cols = np.random.default_rng(1).uniform(20, 280, (2, 200))
    x, y = place.a * cols + place.b * rows + place.c, place.d * cols + place.e * rows + place.f
    lon, lat = Transformer.from_crs(32618, 4326, always_xy=True).transform(x, y)
    difference = np.abs(
        values_at(chain.file(stored), lon, lat) - (1000 + 3 * (rows - 0.5) + 5 * (cols - 0.5))
    )
    assert difference.max() < 8


@pytest.mark.parametrize("file_says", [True, False])
def test_ground_control_points_are_warped_to_a_grid(
    chain: Chain, write_raster: WriteRaster, file_says: bool
) -> None:
    corners = [(0, 0, 10.0, 50.0), (0, 80, 10.8, 50.0), (60, 0, 10.0, 49.4), (60, 80, 10.8, 49.4)]

    def change(target: Any) -> None:
        target.gcps = (
            [GroundControlPoint(*corner, 0.0) for corner in corners],
            rasterio.CRS.from_epsg(4326) if file_says else rasterio.CRS(),
        )

    path = write_raster(
        "points.tif", smooth(1, 60, 80), crs=None, transform=north_up(0, 0, 2, 2), change=change
    )
    stored = chain.cogs(chain.profile(path, input_crs="EPSG:4326"))
    assert stored.cogs[0].lonlat_bounds.wsen == pytest.approx((10, 49.4, 10.8, 50), abs=1e-6)
    with rasterio.open(chain.file(stored)) as cog:
        assert not cog.gcps[0]
        np.testing.assert_array_equal(cog.read(), smooth(1, 60, 80))
        assert cog.bounds == pytest.approx((10, 49.4, 10.8, 50), abs=1e-6)


@pytest.mark.parametrize("target", ["EPSG:4326", "EPSG:3857"])
def test_across_the_antimeridian(chain: Chain, write_raster: WriteRaster, target: str) -> None:
    path = write_raster(
        "fiji.tif",
        smooth(1, 200, 1500),
        crs="EPSG:32660",
        transform=north_up(680_000, 1_000_000, 100, 100),
    )
    stored = chain.cogs(chain.profile(path), target_crs=target)
    assert stored.cogs[0].lonlat_bounds.crosses_antimeridian
    with rasterio.open(chain.file(stored)) as cog:
        assert (cog.dataset_mask() > 0).mean() > 0.8
    assert '"MultiPolygon"' in stored.footprint_geojson


@pytest.mark.parametrize("target", ["EPSG:3857", "EPSG:32601", "EPSG:4269"])
@pytest.mark.parametrize(
    ("crs", "west", "size"),
    [("EPSG:4326", 179.25, 0.01), ("EPSG:4167", -180.75, 0.01), ("EPSG:3857", 19_954_000, 1113.0)],
)
def test_a_source_that_continues_past_the_antimeridian(
    chain: Chain, write_raster: WriteRaster, crs: str, west: float, size: float, target: str
) -> None:
    path = write_raster(
        "fiji.tif",
        smooth(1, 100, 150),
        crs=crs,
        transform=north_up(west, -17 if size < 1 else -1_920_000, size, size),
    )
    stored = chain.cogs(chain.profile(path), target_crs=target)
    with rasterio.open(chain.file(stored)) as cog:
        assert (cog.dataset_mask() > 0).mean() > 0.9


@pytest.mark.parametrize("quality", [30, 85, 100])
def test_visualization_is_jpeg_with_a_mask(
    chain: Chain, write_raster: WriteRaster, quality: int
) -> None:
    pixels = smooth(3, 300, 400)
    pixels[:, :100] = 0
    profiled = chain.profile(write_raster("rgb.tif", pixels, photometric="RGB", nodata=0))
    stored = chain.cogs(profiled, output_tier="visualization", jpeg_quality=quality)
    with rasterio.open(chain.file(stored)) as cog:
        assert "JPEG" in cog.tags(ns="IMAGE_STRUCTURE")["COMPRESSION"]
        assert cog.tags(ns="IMAGE_STRUCTURE")["JPEG_QUALITY"] == str(quality)
        assert (cog.nodata, cog.mask_flag_enums[0]) == (None, [MaskFlags.per_dataset])
        np.testing.assert_array_equal(cog.dataset_mask() > 0, (pixels != 0).any(axis=0))
    assert not stored.cogs[0].verification.compared_exactly


def test_visualization_of_alpha_and_of_bands_in_another_order(
    chain: Chain, write_raster: WriteRaster
) -> None:
    pixels = smooth(4, 80, 90)
    pixels[3] = 255
    pixels[3, :20] = 0
    order = (ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.alpha)
    path = write_raster(
        "bgra.tif",
        pixels,
        photometric="MINISBLACK",
        change=lambda target: setattr(target, "colorinterp", order),
    )
    stored = chain.cogs(chain.profile(path), output_tier="visualization", jpeg_quality=95)
    with rasterio.open(chain.file(stored)) as cog:
        assert cog.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        difference = np.abs(cog.read().astype(int)[:, 40:] - pixels[[2, 1, 0], 40:].astype(int))
        assert difference.mean() < 6
        np.testing.assert_array_equal(cog.dataset_mask()[:, 0] > 0, pixels[3, :, 0] > 0)


def test_tier_all(chain: Chain, write_raster: WriteRaster) -> None:
    stored = chain.cogs(
        chain.profile(write_raster("rgb.tif", smooth(3, 90, 80), photometric="RGB")),
        output_tier="all",
    )
    assert [cog.tier for cog in stored.cogs] == [
        OutputTier.analysis,
        OutputTier.visualization,
        OutputTier.archive,
    ]
    assert [cog.stored.key.rsplit("/", 1)[-1] for cog in stored.cogs] == [
        "rgb.analysis.tif",
        "rgb.visualization.tif",
        "rgb.archive.tif",
    ]
    np.testing.assert_array_equal(read(chain, stored, 0), read(chain, stored, 2))


@pytest.mark.parametrize(
    ("name", "driver", "dtype", "options", "own_crs"),
    [
        ("a.jp2", "JP2OpenJPEG", "uint8", {"REVERSIBLE": "YES", "QUALITY": 100}, True),
        ("a.img", "HFA", "int16", {}, True),
        ("a.asc", "AAIGrid", "int32", {}, False),
        ("a.png", "PNG", "uint8", {"WORLDFILE": "YES"}, False),
        ("a.jpg", "JPEG", "uint8", {"WORLDFILE": "YES"}, False),
    ],
)
def test_other_formats_are_converted(
    chain: Chain,
    write_raster: WriteRaster,
    tmp_path: Path,
    name: str,
    driver: str,
    dtype: str,
    options: dict[str, Any],
    own_crs: bool,
) -> None:
    pixels = smooth(1, 64, 64, dtype, 200)
    path = tmp_path / name
    rasterio.shutil.copy(write_raster("source.tif", pixels), path, driver=driver, **options)
    with rasterio.open(path) as decoded:
        wanted = decoded.read()
    for foreign in (*tmp_path.glob("*.aux.xml"), *tmp_path.glob("*.prj")):
        foreign.unlink()
    world = tmp_path / "a.wld"
    profiled = chain.profile(
        path,
        *([world] if world.exists() else []),
        **({} if own_crs else {"input_crs": "EPSG:32618"}),
    )
    stored = chain.cogs(profiled)
    np.testing.assert_array_equal(read(chain, stored), wanted)
    with rasterio.open(chain.file(stored)) as cog:
        assert cog.crs.to_epsg() == 32618
        np.testing.assert_allclose(tuple(cog.transform)[:6], (10, 0, 500_000, 0, -10, 4_500_000))


def test_srtm_tile(chain: Chain, write_raster: WriteRaster, tmp_path: Path) -> None:
    place = north_up(-118 - 0.5 / 1200, 38 + 0.5 / 1200, 1 / 1200, 1 / 1200)
    path = tmp_path / "N37W118.hgt"
    rasterio.shutil.copy(
        write_raster(
            "t.tif", smooth(1, 1201, 1201, "int16", 3000), crs="EPSG:4326", transform=place
        ),
        path,
        driver="SRTMHGT",
    )
    stored = chain.cogs(chain.profile(path))
    assert stored.raster_type.value == "dem"
    assert stored.cogs[0].lonlat_bounds.wsen == pytest.approx((-118, 37, -117, 38), abs=1e-3)
    assert stored.cogs[0].bands[0].nodata == -32768


@pytest.mark.parametrize(("south", "north"), [(-75, 75), (-90, 90)])
def test_the_whole_earth_into_web_mercator(
    chain: Chain, write_raster: WriteRaster, south: int, north: int
) -> None:
    place = north_up(-180, north, 1, 1)
    path = write_raster(
        "world.tif",
        smooth(1, north - south, 360, "float32", 3000),
        crs="EPSG:4326",
        transform=place,
    )
    stored = chain.cogs(chain.profile(path), target_crs="EPSG:3857")
    assert stored.cogs[0].bounds.xmin == pytest.approx(-20_037_508.34, abs=1)
    assert stored.cogs[0].bounds.ymax <= 20_037_508.35
    with rasterio.open(chain.file(stored)) as cog:
        assert (cog.dataset_mask() > 0).mean() > 0.97


def test_a_polar_raster_into_degrees(chain: Chain, write_raster: WriteRaster) -> None:
    place = north_up(-2_000_000, 2_000_000, 20_000, 20_000)
    path = write_raster(
        "arctic.tif", smooth(1, 200, 200, "float32", 3000), crs="EPSG:3413", transform=place
    )
    stored = chain.cogs(chain.profile(path), target_crs="EPSG:4326")
    assert stored.cogs[0].lonlat_bounds.wsen[2:] == pytest.approx((180, 90), abs=1e-6)
    with rasterio.open(chain.file(stored)) as cog:
        assert (cog.read_masks(1)[0] > 0).all()


@pytest.mark.parametrize(
    ("rows", "cols"), [(9000, 700), (700, 9000), (5000, 3), (1300, 1), (1, 1300)]
)
def test_a_long_and_narrow_raster(
    chain: Chain, write_raster: WriteRaster, rows: int, cols: int
) -> None:
    stored = chain.cogs(
        chain.profile(
            write_raster(
                "corridor.tif", smooth(1, rows, cols), transform=north_up(500_000, 4_500_000, 1, 1)
            )
        )
    )
    np.testing.assert_array_equal(read(chain, stored), smooth(1, rows, cols))
    with rasterio.open(chain.file(stored), OVERVIEW_LEVEL=0) as overview:
        assert overview.shape == (max(rows // 2, 1), max(cols // 2, 1))


def test_a_gray_image_whose_zero_is_white(chain: Chain, write_raster: WriteRaster) -> None:
    profiled = chain.profile(write_raster("scan.tif", smooth(1, 60, 80), photometric="MINISWHITE"))
    assert "MIN_IS_WHITE" in [finding.code for finding in profiled.warnings]
    stored = chain.cogs(profiled)
    np.testing.assert_array_equal(read(chain, stored), smooth(1, 60, 80))
    with rasterio.open(chain.file(stored)) as cog:
        assert cog.colorinterp == (ColorInterp.gray,)


def test_pixels_of_a_tenth_of_a_millimetre_have_a_footprint(
    chain: Chain, write_raster: WriteRaster
) -> None:
    path = write_raster(
        "sherd.tif", smooth(1, 60, 80), crs="EPSG:4326", transform=north_up(8, 48, 1e-9, 1e-9)
    )
    stored = chain.cogs(chain.profile(path))
    footprint = shape(json.loads(stored.footprint_geojson))
    assert footprint.is_valid
    assert footprint.covers(Point(8 + 4e-8, 48 - 3e-8))
    assert footprint.area < 1e-10


def test_a_raster_of_the_moon_is_refused(chain: Chain, write_raster: WriteRaster) -> None:
    path = write_raster(
        "moon.tif",
        smooth(1, 60, 80),
        crs="+proj=longlat +R=1737400 +no_defs",
        transform=north_up(8, 48, 0.1, 0.1),
    )
    with pytest.raises(BoundsImplausible, match="Earth"):
        chain.profile(path)


@pytest.mark.parametrize("target", ["EPSG:8857", "ESRI:54008", "ESRI:54030", "ESRI:54009"])
def test_a_map_of_the_world_holds_each_place_once(
    chain: Chain, write_raster: WriteRaster, target: str
) -> None:
    path = write_raster(
        "world.tif",
        smooth(1, 181, 360, "float32", 3000),
        crs="EPSG:4326",
        transform=north_up(-0.5, 90.5, 1, 1),
    )
    with rasterio.open(chain.file(chain.cogs(chain.profile(path), target_crs=target))) as cog:
        valid = cog.dataset_mask() > 0
        rows, cols = np.mgrid[0 : cog.height, 0 : cog.width] + 0.5
        x, y = cog.transform @ (cols, rows)
        there = Transformer.from_crs(cog.crs.to_wkt(), 4326, always_xy=True)
        back = there.transform(*there.transform(x, y), direction="INVERSE")
    with np.errstate(invalid="ignore"):
        on_map = (np.abs(back[0] - x) < 1000) & (np.abs(back[1] - y) < 1000)
    assert not (valid & ~on_map).any()
    assert (valid & on_map).sum() > 0.99 * on_map.sum()


def test_what_a_target_crs_cannot_represent_is_said(
    chain: Chain, write_raster: WriteRaster
) -> None:
    path = write_raster(
        "world.tif",
        smooth(1, 180, 360, "float32", 3000),
        crs="EPSG:4326",
        transform=north_up(-180, 90, 1, 1),
    )
    warnings = chain.cogs(chain.profile(path), target_crs="EPSG:3857").warnings
    (said,) = [finding.message for finding in warnings if finding.code == "OUTSIDE_TARGET_CRS"]
    assert said.startswith(("About 5", "About 6"))


def test_a_line_through_the_middle_of_a_disc_keeps_its_place(
    chain: Chain, write_raster: WriteRaster
) -> None:
    """GDAL interpolates a line if its ends and middle fit, as they do in a symmetrical one."""
    disc = "+proj=geos +h=35785831 +lon_0=0 +sweep=y +a=6378169 +b=6356583.8"
    place = north_up(-5.57e6, 5.57e6, 55_700, 55_700)
    row, col = np.mgrid[0:200, 0:200]
    x, y = place @ (col + 0.5, row + 0.5)
    there = Transformer.from_crs(disc, 4326, always_xy=True)
    lon, _ = there.transform(x, y)
    pixels = np.where(np.isfinite(lon), lon, -9999).astype("float32")[None]
    path = write_raster("disc.tif", pixels, crs=disc, transform=place, nodata=-9999)
    profiled = chain.profile(path)
    for target in ("EPSG:6933", "EPSG:4326"):
        stored = chain.cogs(profiled, target_crs=target)
        with rasterio.open(chain.file(stored)) as cog:
            values, mask = cog.read(1), cog.dataset_mask() > 0
            rows, cols = np.mgrid[0 : cog.height, 0 : cog.width] + 0.5
            wanted, lat = Transformer.from_crs(cog.crs, 4326, always_xy=True).transform(
                *(cog.transform @ (cols, rows))
            )
        inner = mask & (np.abs(wanted) < 50) & (np.abs(lat) < 50)
        assert inner.sum() > 1000
        assert np.abs(values - wanted)[inner].max() < 1.5


def test_a_small_raster_at_a_pole_is_coarser_in_degrees_and_that_is_said(
    chain: Chain, write_raster: WriteRaster
) -> None:
    path = write_raster(
        "pole.tif",
        smooth(1, 200, 200, "float32", 3000),
        crs="EPSG:3413",
        transform=north_up(-200_000, 200_000, 2_000, 2_000),
    )
    warnings = chain.cogs(chain.profile(path), target_crs="EPSG:4326").warnings
    assert "COARSER_PIXELS" in [finding.code for finding in warnings]
    path = write_raster("plain.tif", smooth(1, 60, 50))
    assert not chain.cogs(chain.profile(path), target_crs="EPSG:4326").warnings


def test_a_raster_at_a_pole_that_is_smaller_than_a_pixel_in_degrees_is_refused(
    chain: Chain, write_raster: WriteRaster
) -> None:
    path = write_raster(
        "pole.tif",
        smooth(1, 200, 200, "float32", 3000),
        crs="EPSG:3413",
        transform=north_up(-10_000, 10_000, 100, 100),
    )
    profiled = chain.profile(path)
    with pytest.raises(RasterEmpty, match="no valid pixel") as refused:
        chain.cogs(profiled, target_crs="EPSG:4326")
    assert "target_crs that is made for this area" in refused.value.remedy
    stored = chain.cogs(profiled, target_crs="EPSG:3995")
    with rasterio.open(chain.file(stored)) as cog:
        # A square that is turned by 45 degrees fills half of its box.
        assert (cog.read_masks(1) > 0).mean() == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("tier", ["analysis", "visualization"])
def test_a_jpeg_compressed_disc_with_nodata_and_a_mask(
    chain: Chain, write_raster: WriteRaster, tier: str
) -> None:
    row, col = np.mgrid[0:300, 0:300]
    mask = np.hypot(row - 150, col - 150) < 147
    noise = np.random.default_rng(0).normal(0, 12, (3, 300, 300))
    pixels = (np.clip(smooth(3, 300, 300) / 4 + noise, 0, 255) * mask).astype("uint8")
    path = write_raster(
        "disc.tif",
        pixels,
        crs="+proj=geos +h=35785831 +lon_0=-75 +sweep=x +ellps=GRS80",
        transform=north_up(-5_434_000, 5_434_000, 36_227, 36_227),
        nodata=0,
        mask=mask,
        compress="JPEG",
        photometric="YCBCR",
        interleave="pixel",
        tiled=True,
    )
    stored = chain.cogs(chain.profile(path), output_tier=tier)
    with rasterio.open(chain.file(stored)) as cog:
        assert ((cog.dataset_mask() > 0) == mask).mean() > 0.99
