"""Plan COGs from a profile and options, without opening a file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.contracts.raster import OutputTier, RasterProfiled
from geo_platform.errors import ParameterInvalid, RasterTypeMismatch
from geo_platform.grid import GridShape
from geo_platform.raster.options import OutputTierChoice, RasterCogOptions, Resampling
from geo_platform.raster.plan import CogPlan, overview_factors, plan_cogs
from tests.unit.raster.conftest import Chain, WriteRaster, north_up, smooth


@pytest.fixture
def rgb(chain: Chain, write_raster: WriteRaster) -> RasterProfiled:
    return chain.profile(write_raster("rgb.tif", smooth(3, 1300, 700), photometric="RGB"))


@pytest.fixture
def dem(chain: Chain, write_raster: WriteRaster) -> RasterProfiled:
    return chain.profile(write_raster("dem.tif", smooth(1, 60, 70, "float32", 3000)))


def one(profile: RasterProfiled, **options: object) -> CogPlan:
    return plan_cogs(profile, RasterCogOptions(**options)).plans[0]  # type: ignore[arg-type]


def test_default_keeps_the_grid_and_is_lossless(rgb: RasterProfiled) -> None:
    plan = one(rgb)
    assert (plan.tier, plan.compression, plan.level, plan.predictor) == (
        OutputTier.analysis,
        "ZSTD",
        9,
        2,
    )
    assert (plan.transform, plan.shape, plan.warps, plan.reproject_resampling) == (
        rgb.georeference.transform,
        rgb.shape,
        False,
        None,
    )
    assert (plan.blocksize_px, plan.overview_factors, plan.overview_resampling) == (
        512,
        (2, 4),
        Resampling.cubic,
    )
    assert len(plan.reasons) == 6
    assert all(plan.reasons)


def test_each_type_has_its_resampling(
    dem: RasterProfiled, chain: Chain, write_raster: WriteRaster
) -> None:
    plan = one(dem, target_crs="EPSG:3857")
    assert (plan.overview_resampling, plan.reproject_resampling, plan.predictor) == (
        Resampling.average,
        Resampling.bilinear,
        3,
    )
    classes = chain.profile(write_raster("classes.tif", smooth(1, 60, 70, "uint8", 5)))
    plan = one(classes, target_crs="EPSG:3857")
    assert (plan.overview_resampling, plan.reproject_resampling, plan.predictor) == (
        Resampling.mode,
        Resampling.nearest,
        1,
    )


def test_options_take_precedence_over_the_type(dem: RasterProfiled) -> None:
    plan = one(
        dem,
        target_crs="EPSG:3857",
        overview_resampling="nearest",
        reproject_resampling="lanczos",
        compression="deflate",
    )
    assert (plan.overview_resampling, plan.reproject_resampling) == (
        Resampling.nearest,
        Resampling.lanczos,
    )
    assert (plan.compression, plan.level) == ("DEFLATE", 6)
    assert any("requested" in reason for reason in plan.reasons)


def test_the_crs_of_the_source_as_target_changes_nothing(rgb: RasterProfiled) -> None:
    plan = one(rgb, target_crs="EPSG:32618")
    assert not plan.warps
    assert plan.transform == rgb.georeference.transform


def test_reprojecting_without_nodata_gets_a_mask(rgb: RasterProfiled) -> None:
    plan = one(rgb, target_crs="EPSG:3857")
    assert plan.is_reprojected
    assert plan.has_internal_mask
    assert plan.crs.authority_code == "EPSG:3857"
    assert plan.lonlat_bounds.west <= rgb.lonlat_bounds.west + 1e-3


def test_visualization_is_for_8_bit_colours(rgb: RasterProfiled, dem: RasterProfiled) -> None:
    plan = one(rgb, output_tier="visualization", jpeg_quality=70)
    assert (plan.compression, plan.jpeg_quality, plan.level, plan.predictor) == (
        "JPEG",
        70,
        None,
        1,
    )
    with pytest.raises(RasterTypeMismatch, match="dem"):
        plan_cogs(dem, RasterCogOptions(output_tier="visualization"))  # type: ignore[arg-type]


def test_16_bit_colours_and_a_fourth_band_of_data_are_refused_as_jpeg(
    chain: Chain, write_raster: WriteRaster
) -> None:
    deep = chain.profile(write_raster("deep.tif", smooth(3, 30, 30, "uint16", 60_000)))
    infrared = chain.profile(write_raster("nir.tif", smooth(4, 30, 30), photometric="MINISBLACK"))
    for profile, because in ((deep, "uint16"), (infrared, "nir")):
        with pytest.raises(RasterTypeMismatch, match=because):
            plan_cogs(profile, RasterCogOptions(output_tier=OutputTierChoice.visualization))


def test_tier_all_plans_what_is_possible_and_reports_the_rest(
    rgb: RasterProfiled, dem: RasterProfiled
) -> None:
    plans = plan_cogs(rgb, RasterCogOptions(output_tier="all"))  # type: ignore[arg-type]
    assert [plan.tier for plan in plans.plans] == [
        OutputTier.analysis,
        OutputTier.visualization,
        OutputTier.archive,
    ]
    assert not plans.refused_tiers
    plans = plan_cogs(dem, RasterCogOptions(output_tier="all"))  # type: ignore[arg-type]
    assert [plan.tier for plan in plans.plans] == [OutputTier.analysis, OutputTier.archive]
    assert [finding.code for finding in plans.refused_tiers] == ["TIER_REFUSED"]
    assert "visualization" in plans.refused_tiers[0].message


@pytest.mark.parametrize(("target", "edge"), [("EPSG:4326", 180), ("EPSG:3857", 20_037_508.34)])
def test_coordinates_continue_past_the_antimeridian(
    chain: Chain, write_raster: WriteRaster, target: str, edge: float
) -> None:
    place = north_up(680_000, 1_000_000, 100, 100)
    fiji = chain.profile(
        write_raster("fiji.tif", smooth(1, 300, 1500), crs="EPSG:32660", transform=place)
    )
    assert fiji.lonlat_bounds.crosses_antimeridian
    plan = one(fiji, target_crs=target)
    assert 0.8 < plan.shape.pixels / fiji.shape.pixels < 1.5
    assert plan.bounds.xmin < edge < plan.bounds.xmax
    assert plan.lonlat_bounds.crosses_antimeridian
    assert (plan.lonlat_bounds.west, plan.lonlat_bounds.east) == pytest.approx(
        (fiji.lonlat_bounds.west, fiji.lonlat_bounds.east), abs=1e-2
    )


@pytest.mark.parametrize("target", ["nonsense", "EPSG:4979999"])
def test_an_unknown_target_crs_names_the_parameter(dem: RasterProfiled, target: str) -> None:
    with pytest.raises(ParameterInvalid, match="target_crs"):
        plan_cogs(dem, RasterCogOptions(target_crs=target))


def test_a_target_that_tears_the_raster_apart_is_refused(
    chain: Chain, write_raster: WriteRaster
) -> None:
    place = north_up(680_000, 1_000_000, 100, 100)
    fiji = chain.profile(
        write_raster("fiji.tif", smooth(1, 300, 1500), crs="EPSG:32660", transform=place)
    )
    with pytest.raises(ParameterInvalid, match=r"fiji\.tif"):
        plan_cogs(fiji, RasterCogOptions(target_crs="ESRI:54009"))


@pytest.mark.parametrize("target", ["EPSG:3031", "EPSG:2154"])
def test_a_pole_at_infinity_is_refused(
    chain: Chain, write_raster: WriteRaster, target: str
) -> None:
    earth = chain.profile(
        write_raster(
            "earth.tif", smooth(1, 90, 180), crs="EPSG:4326", transform=north_up(-180, 90, 2, 2)
        )
    )
    with pytest.raises(ParameterInvalid, match=r"earth\.tif"):
        plan_cogs(earth, RasterCogOptions(target_crs=target))


@given(st.integers(1, 100_000), st.integers(1, 100_000))
def test_overviews_end_where_one_block_holds_all(rows: int, cols: int) -> None:
    factors = overview_factors(GridShape(rows=rows, cols=cols), 512)
    assert factors == tuple(2**power for power in range(1, len(factors) + 1))
    last = factors[-1] if factors else 1
    assert max(rows, cols) // last <= 512
    assert last == 1 or max(rows, cols) // (last // 2) > 512
