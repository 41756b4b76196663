"""Profile real files: what is described, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC

from geo_platform.contracts.raster import RasterType
from geo_platform.errors import (
    BoundsImplausible,
    CrsMismatch,
    CrsMissing,
    GeotransformMissing,
    NodataConflict,
    ParameterInvalid,
    PlatformError,
    Raster64BitRejected,
    RasterEmpty,
    RasterTypeMismatch,
    SourceTruncated,
    UnsupportedFormat,
)
from geo_platform.source import arrival
from tests.support.far import FarFolder
from tests.unit.raster.conftest import Chain, WriteRaster, north_up, smooth


@pytest.fixture(params=["in the folder", "by ranges"])
def chain(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    """Reading by ranges gives the same profiles and refusals as reading a local file."""
    chain = Chain(tmp_path / "chain")
    if request.param == "by ranges":
        monkeypatch.setattr(arrival, "MAX_DOWNLOADED_BYTES", 0)
        chain.objects = FarFolder(chain.objects.root)
    return chain


def test_a_jpeg_with_damaged_data_is_refused(chain: Chain, tmp_path: Path) -> None:
    """libjpeg warns and fills in gray, which GDAL returns as pixels unless set otherwise."""
    noise = np.random.default_rng(0).integers(0, 255, (3, 200, 200)).astype("uint8")
    path = tmp_path / "photo.jpg"
    with rasterio.open(
        path,
        "w",
        driver="JPEG",
        width=200,
        height=200,
        count=3,
        dtype="uint8",
        transform=north_up(500_000, 4_500_000, 1, 1),
    ) as target:
        target.write(noise)
    content = bytearray(path.read_bytes())
    for offset in range(len(content) // 2, len(content) - 100, 97):
        content[offset] ^= 0x55
    path.write_bytes(content)
    (tmp_path / "photo.jgw").write_text("1\n0\n0\n-1\n500000.5\n4499999.5\n")
    with pytest.raises(SourceTruncated, match=r"photo\.jpg"):
        chain.cogs(chain.profile(path, tmp_path / "photo.jgw", input_crs="EPSG:32618"))


def test_all_fields_of_a_header(chain: Chain, write_raster: WriteRaster) -> None:
    def change(target: Any) -> None:
        target.scales, target.offsets = (0.1, 1.0), (5.0, 0.0)
        target.units, target.descriptions = ("m", "K"), ("elevation", "temperature")
        target.update_tags(TIFFTAG_DATETIME="2020:01:02 03:04:05", AREA_OR_POINT="Point")

    path = write_raster(
        "two.tif",
        smooth(2, 300, 200, "int16", 2000),
        nodata=-1,
        change=change,
        compress="deflate",
        tiled=True,
    )
    found = chain.profile(path)
    first = found.bands[0]
    assert (first.scale, first.offset, first.unit, first.description, first.nodata) == (
        0.1,
        5.0,
        "m",
        "elevation",
        -1,
    )
    assert found.bands[1].unit == "K"
    assert (found.driver, found.shape.wh, found.source_compression, found.is_cog) == (
        "GTiff",
        (200, 300),
        "DEFLATE",
        False,
    )
    assert (found.crs.authority_code, found.crs.came_from) == ("EPSG:32618", "file")
    assert found.bounds.xyxy == (500_000, 4_497_000, 502_000, 4_500_000)
    assert (found.acquired_at, found.acquired_from) == ("2020-01-02T03:04:05Z", "TIFFTAG_DATETIME")
    assert found.georeference.pixel_is_point
    assert found.uncompressed_bytes == 2 * 300 * 200 * 2
    assert found.memory_estimate_bytes > found.uncompressed_bytes
    assert found.fingerprint != found.source.fingerprint


def test_crs_of_file_user_and_override(chain: Chain, write_raster: WriteRaster) -> None:
    bare = write_raster("bare.tif", smooth(1, 20, 20), crs=None)
    with pytest.raises(CrsMissing, match=r"bare\.tif"):
        chain.profile(bare)
    given = chain.profile(
        write_raster("given.tif", smooth(1, 20, 20), crs=None), input_crs="EPSG:32618"
    )
    assert (given.crs.authority_code, given.crs.came_from) == ("EPSG:32618", "user")
    with pytest.raises(CrsMismatch, match=r"EPSG:32618.*EPSG:32619"):
        chain.profile(write_raster("other.tif", smooth(1, 20, 20)), input_crs="EPSG:32619")
    forced = chain.profile(
        write_raster("forced.tif", smooth(1, 20, 20)), input_crs="EPSG:32619", override_crs=True
    )
    assert (forced.crs.authority_code, forced.crs.came_from) == ("EPSG:32619", "user_override")
    same = chain.profile(write_raster("same.tif", smooth(1, 20, 20)), input_crs="EPSG:32618")
    assert same.crs.came_from == "file"


@pytest.mark.parametrize("text", ["EPSG:99999999", "nonsense", 'LOCAL_CS["arbitrary"]'])
def test_an_unknown_input_crs_names_the_parameter(
    chain: Chain, write_raster: WriteRaster, text: str
) -> None:
    with pytest.raises(ParameterInvalid, match="input_crs"):
        chain.profile(write_raster("a.tif", smooth(1, 20, 20), crs=None), input_crs=text)


def test_esri_wkt_is_the_same_crs_as_its_code(chain: Chain, write_raster: WriteRaster) -> None:
    esri = CRS.from_epsg(32618).to_wkt("WKT1_ESRI")
    found = chain.profile(
        write_raster("esri.tif", smooth(1, 20, 20), crs=esri), input_crs="EPSG:32618"
    )
    assert found.crs.came_from == "file"


def test_rotated_and_south_up_grids_get_a_warning(chain: Chain, write_raster: WriteRaster) -> None:
    rotated = Affine.translation(500_000, 4_500_000) @ Affine.rotation(30) @ Affine.scale(10, -10)
    found = chain.profile(write_raster("rotated.tif", smooth(1, 30, 40), transform=rotated))
    assert found.georeference.is_rotated
    assert [warning.code for warning in found.warnings] == ["ROTATED"]
    assert (found.resolution.x, found.resolution.y) == pytest.approx((10, 10))
    corners = [rotated @ corner for corner in ((0, 0), (40, 0), (0, 30), (40, 30))]
    assert found.bounds.xmin == pytest.approx(min(x for x, _ in corners))
    assert found.bounds.ymax == pytest.approx(max(y for _, y in corners))
    south = chain.profile(
        write_raster(
            "south.tif", smooth(1, 30, 40), transform=Affine(10, 0, 500_000, 0, 10, 4_500_000)
        )
    )
    assert south.georeference.is_south_up
    assert south.bounds.ymin == 4_500_000


def test_ground_control_points_place_a_raster_and_rpcs_do_not(
    chain: Chain, write_raster: WriteRaster
) -> None:
    corners = [(0, 0, 10.0, 50.0), (0, 40, 10.4, 50.0), (30, 0, 10.0, 49.7), (30, 40, 10.4, 49.7)]
    points = [GroundControlPoint(*corner, 0.0) for corner in corners]

    def with_points(target: Any) -> None:
        target.gcps = (points, rasterio.CRS.from_epsg(4326))

    found = chain.profile(
        write_raster(
            "points.tif",
            smooth(1, 30, 40),
            crs=None,
            transform=north_up(0, 0, 2, 2),
            change=with_points,
        )
    )
    assert found.georeference.placed_by_ground_control_points
    assert found.georeference.ground_control_points == 4
    assert found.crs.authority_code == "EPSG:4326"
    assert found.lonlat_bounds.wsen == pytest.approx((10, 49.7, 10.4, 50))

    def with_rpcs(target: Any) -> None:
        ones = [1.0] * 20
        target.rpcs = RPC(0, 500, 50, 1, ones, ones, 15, 15, 10, 1, ones, ones, 20, 20)

    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        only = write_raster(
            "rpc.tif", smooth(1, 30, 40), crs=None, transform=Affine.identity(), change=with_rpcs
        )
    with pytest.raises(GeotransformMissing, match="rational polynomial"):
        chain.profile(only, input_crs="EPSG:4326")


def test_a_raster_without_georeference_is_refused(chain: Chain, tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(
            path, "w", driver="PNG", width=20, height=20, count=3, dtype="uint8"
        ) as target,
    ):
        target.write(smooth(3, 20, 20))
    with pytest.raises(GeotransformMissing, match=r"scan\.png"):
        chain.profile(path, input_crs="EPSG:32618")


@pytest.mark.parametrize(
    ("crs", "place"),
    [
        ("EPSG:4326", north_up(500_000, 4_500_000, 10, 10)),
        ("EPSG:4326", north_up(10, 95, 0.1, 0.1)),
        ("EPSG:32618", north_up(-75.5, 40.5, 0.0001, 0.0001)),
        ("EPSG:27700", north_up(5_000_000, 9_000_000, 10, 10)),
    ],
)
def test_coordinates_that_do_not_fit_the_crs_are_refused(
    chain: Chain, write_raster: WriteRaster, crs: str, place: Affine
) -> None:
    with pytest.raises(BoundsImplausible, match=r"far\.tif"):
        chain.profile(write_raster("far.tif", smooth(1, 20, 20), crs=crs, transform=place))


@pytest.mark.parametrize(
    ("crs", "place"),
    [
        ("EPSG:4326", north_up(-180.05, 90.05, 0.1, 0.1)),
        ("EPSG:4326", north_up(350, 10, 0.1, 0.1)),
        ("EPSG:32618", north_up(100_000, 4_500_000, 10, 10)),
        ("EPSG:3857", north_up(20_037_000, 100_000, 100, 100)),
        ("EPSG:32760", north_up(700_000, 8_000_000, 10, 10)),
    ],
)
def test_common_deviations_are_not_refused(
    chain: Chain, write_raster: WriteRaster, crs: str, place: Affine
) -> None:
    assert chain.profile(
        write_raster("near.tif", smooth(1, 20, 20), crs=crs, transform=place)
    ).lonlat_bounds


def test_a_raster_of_nodata_only_is_refused_after_reading_all_of_it(
    chain: Chain, write_raster: WriteRaster
) -> None:
    path = write_raster(
        "empty.tif", np.zeros((1, 600, 600), dtype=np.uint8), nodata=0, compress="deflate"
    )
    with pytest.raises(RasterEmpty, match=r"empty\.tif"):
        chain.profile(path)
    masked = write_raster("masked.tif", smooth(1, 30, 30), mask=np.zeros((30, 30), dtype=bool))
    with pytest.raises(RasterEmpty):
        chain.profile(masked)


def test_nodata_and_its_conflicts(chain: Chain, write_raster: WriteRaster) -> None:
    with pytest.raises(NodataConflict):
        chain.profile(write_raster("own.tif", smooth(1, 20, 20), nodata=0), nodata=255)
    found = chain.profile(
        write_raster("nan.tif", smooth(1, 20, 20, "float32"), nodata=float("nan"))
    )
    assert (found.bands[0].nodata, found.bands[0].nodata_is_nan, found.bands[0].mask) == (
        None,
        True,
        "nodata",
    )


def test_kinds_of_masks(chain: Chain, write_raster: WriteRaster) -> None:
    mask = np.ones((30, 30), dtype=bool)
    mask[:10] = False
    internal = chain.profile(
        write_raster("mask.tif", smooth(3, 30, 30), mask=mask, photometric="RGB")
    )
    assert {band.mask for band in internal.bands} == {"per_dataset"}
    assert internal.bands[0].statistics is not None
    assert internal.bands[0].statistics.valid_percent == pytest.approx(66.667)
    pixels = smooth(4, 30, 30)
    pixels[3] = np.where(mask, 255, 0)
    alpha = chain.profile(write_raster("alpha.tif", pixels, photometric="RGB", alpha="YES"))
    assert [band.mask for band in alpha.bands] == ["alpha", "alpha", "alpha", "all_valid"]
    assert alpha.raster_type is RasterType.rgba
    plain = chain.profile(write_raster("plain.tif", smooth(1, 30, 30)))
    assert plain.bands[0].mask == "all_valid"


@pytest.mark.parametrize(
    ("dtype", "sufficient", "saving"),
    [("float32", "uint8", 3 * 900), ("float64", "uint8", 7 * 900), ("uint16", "uint8", 900)],
)
def test_bands_wider_than_their_values_are_reported(
    chain: Chain, write_raster: WriteRaster, dtype: str, sufficient: str, saving: int
) -> None:
    found = chain.profile(write_raster("wide.tif", np.round(smooth(1, 30, 30, dtype))))
    assert [(finding.sufficient_dtype, finding.saving_bytes) for finding in found.bit_depth] == [
        (sufficient, saving)
    ]


def test_fractions_keep_their_float_type(chain: Chain, write_raster: WriteRaster) -> None:
    assert not chain.profile(write_raster("float.tif", smooth(1, 30, 30, "float32"))).bit_depth
    narrow = smooth(1, 30, 30, "float32").astype("float64")
    assert [
        finding.sufficient_dtype
        for finding in chain.profile(write_raster("double.tif", narrow)).bit_depth
    ] == ["float32"]


def test_strict_mode(chain: Chain, write_raster: WriteRaster) -> None:
    with pytest.raises(Raster64BitRejected, match="float64"):
        chain.profile(write_raster("double.tif", smooth(1, 30, 30, "float64")), strict_mode=True)
    with pytest.raises(RasterTypeMismatch):
        chain.profile(
            write_raster("rgb.tif", smooth(3, 30, 30), photometric="RGB"),
            strict_mode=True,
            raster_type="multispectral",
        )


def test_complex_numbers_are_refused(chain: Chain, write_raster: WriteRaster) -> None:
    with pytest.raises(UnsupportedFormat, match="complex"):
        chain.profile(write_raster("radar.tif", np.ones((1, 10, 10), dtype=np.complex64)))


def test_a_file_that_ends_too_early_is_refused(chain: Chain, write_raster: WriteRaster) -> None:
    path = write_raster(
        "cut.tif", np.random.default_rng(0).integers(0, 255, (1, 400, 400), dtype=np.uint8)
    )
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(PlatformError) as refused:
        chain.profile(path)
    assert isinstance(refused.value, SourceTruncated)
    assert refused.value.__cause__ is not None
    assert "cut.tif" in refused.value.message
    assert "Traceback" not in str(refused.value)


def test_a_large_source_costs_little_reading(chain: Chain, write_raster: WriteRaster) -> None:
    import resource

    pixels = np.broadcast_to(smooth(1, 1, 6000), (3, 6000, 6000))
    path = write_raster("large.tif", pixels, tiled=True, photometric="RGB")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = chain.profile(path)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert found.uncompressed_bytes == 108_000_000
    assert found.bands[0].statistics is not None
    assert found.bands[0].statistics.sampled_pixels * 3 <= 8 * 1024**2 + 1
    assert grown < 60_000_000
