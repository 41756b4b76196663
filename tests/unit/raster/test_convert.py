"""Publish all COGs or none, once; again only if forced or if something is missing."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geo_platform.chains.raster import COG
from geo_platform.contracts.raster import CogStored
from geo_platform.errors import CogInvalid, Conflict, SourceTruncated
from geo_platform.grid import GridShape
from geo_platform.ports import BRONZE, SILVER
from geo_platform.raster.convert import make_cogs
from geo_platform.raster.open import open_raster
from geo_platform.raster.options import RasterCogOptions
from geo_platform.raster.plan import plan_cogs
from geo_platform.raster.verify import verify_cog
from geo_platform.raster.write import write_cog
from geo_platform.source.arrival import open_source
from tests.unit.raster.conftest import Chain, WriteRaster, forced, smooth


def test_a_conversion_stores_the_cog_and_its_pictures(
    chain: Chain, write_raster: WriteRaster
) -> None:
    stored = chain.cogs(
        chain.profile(write_raster("Ort & Höhe.tif", smooth(3, 90, 80), photometric="RGB"))
    )
    cog = stored.cogs[0]
    assert cog.stored.key == f"cogs/{stored.fingerprint}/Ort___Höhe.tif"
    assert cog.sha256 == hashlib.sha256(chain.file(stored).read_bytes()).hexdigest()
    metadata = chain.objects.stat(SILVER, cog.stored.key).metadata
    assert metadata["run_id"] == "run-1"
    assert metadata["fingerprint"] == stored.fingerprint
    assert metadata["source_etag"] == stored.source.etag
    assert {entry.reference.key for entry in chain.objects.list(SILVER)} == {
        cog.stored.key,
        stored.thumbnail.key,
        stored.preview.key,
    }
    assert json.loads(stored.footprint_geojson)["type"] == "Polygon"
    assert not stored.was_reused
    assert stored.seconds > 0


def test_an_earlier_result_is_verified_and_reused(chain: Chain, write_raster: WriteRaster) -> None:
    profiled = chain.profile(write_raster("a.tif", smooth(1, 60, 50)))
    first = chain.cogs(profiled)
    again = chain.cogs(profiled, run_id="run-2")
    assert again.was_reused
    assert (again.cogs, again.thumbnail, again.footprint_geojson) == (
        first.cogs,
        first.thumbnail,
        first.footprint_geojson,
    )
    assert not chain.cogs(profiled, force=True).was_reused
    assert chain.cogs(profiled, compression="deflate").fingerprint != first.fingerprint


def test_a_damaged_or_missing_earlier_result_is_converted_again(
    chain: Chain, write_raster: WriteRaster
) -> None:
    profiled = chain.profile(write_raster("a.tif", smooth(1, 60, 50)))
    first = chain.cogs(profiled)
    path = chain.file(first)
    path.write_bytes(path.read_bytes()[:-200] + bytes(200))
    assert not chain.cogs(profiled).was_reused
    assert chain.cogs(profiled).was_reused
    chain.objects.delete(SILVER, first.preview.key)
    assert not chain.cogs(profiled).was_reused


@pytest.mark.parametrize("force", [False, True])
def test_a_sound_cog_of_a_run_that_has_not_stored_all_tiers_yet_is_kept(
    chain: Chain, write_raster: WriteRaster, *, force: bool
) -> None:
    profiled = chain.profile(write_raster("rgb.tif", smooth(3, 90, 80), photometric="RGB"))
    first = chain.cogs(profiled, run_id="run-1", output_tier="all")
    chain.objects.delete(SILVER, first.cogs[2].stored.key)
    second = chain.cogs(profiled, run_id="run-2", output_tier="all", force=force)
    kept = [old.stored == new.stored for old, new in zip(first.cogs, second.cogs, strict=True)]
    assert kept == ([False] * 3 if force else [True, True, False])


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("earlier", [False, True])
def test_of_two_concurrent_runs_the_second_returns_the_cog_of_the_first(
    chain: Chain, write_raster: WriteRaster, *, force: bool, earlier: bool
) -> None:
    """If it replaced the COG, the item of the first run would no longer describe it."""
    profiled = chain.profile(write_raster("a.tif", smooth(1, 60, 50)))
    if earlier:
        chain.cogs(profiled, run_id="run-0")
        damaged = chain.file(chain.cogs(profiled))
        damaged.write_bytes(damaged.read_bytes()[:-200] + bytes(200))
    first: list[CogStored] = []

    def other_run(line: str) -> None:
        if line.startswith("writing ") and not first:
            first.append(chain.cogs(profiled, run_id="run-1"))

    options = RasterCogOptions()
    second = make_cogs(
        forced(profiled) if force else profiled,
        options,
        chain.objects,
        recipe=COG.recipe,
        run_id="run-2",
        scratch=chain.scratch,
        notify=other_run,
    )
    assert second.cogs == first[0].cogs
    assert second.cogs[0].sha256 == hashlib.sha256(chain.file(second).read_bytes()).hexdigest()
    assert chain.objects.stat(SILVER, second.cogs[0].stored.key).metadata["run_id"] == "run-1"
    assert not list(chain.scratch.iterdir())


def test_damage_that_the_sample_missed_publishes_nothing(
    chain: Chain, write_raster: WriteRaster
) -> None:
    pixels = np.random.default_rng(0).integers(1, 255, (1, 4000, 4000), dtype=np.uint8)
    path = write_raster(
        "damaged.tif", pixels, tiled=True, blockxsize=256, blockysize=256, compress="deflate"
    )
    content = bytearray(path.read_bytes())
    with rasterio.open(path) as whole:
        offset = int(whole.tags(1, ns="TIFF").get("BLOCK_OFFSET_0_0") or 0) or (
            whole.statistics and 0
        )
    profiled = chain.profile(path)
    offset = int(_block_offset(path))
    content[offset : offset + 2000] = b"\xff" * 2000
    path.write_bytes(content)
    chain.objects.put_file(BRONZE, path.name, path, metadata={})
    with pytest.raises(Conflict):
        chain.cogs(profiled)
    damaged = chain.profile(path)
    with pytest.raises(SourceTruncated, match=r"damaged\.tif"):
        chain.cogs(damaged)
    assert not list(chain.objects.list(SILVER))
    assert not list(chain.scratch.iterdir())


def _block_offset(path: Path) -> str:
    """Return the offset of the first tile in the file."""
    with rasterio.open(path) as dataset:
        return str(dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))


def test_a_cog_of_other_pixels_is_refused(
    chain: Chain, write_raster: WriteRaster, tmp_path: Path
) -> None:
    profiled = chain.profile(write_raster("a.tif", smooth(1, 300, 300)))
    plan = plan_cogs(profiled, RasterCogOptions()).plans[0]
    other = chain.profile(write_raster("b.tif", smooth(1, 300, 300)[:, ::-1].copy()))
    with open_source(chain.objects, other.source, scratch=chain.scratch) as source:
        write_cog(source, plan, tmp_path / "b_cog.tif")
    with (
        open_source(chain.objects, profiled.source, scratch=chain.scratch) as source,
        pytest.raises(CogInvalid, match="pixels differ"),
    ):
        verify_cog(tmp_path / "b_cog.tif", source, plan, source_size_bytes=1)


@pytest.mark.parametrize("options", [{"target_crs": "EPSG:3857"}, {"output_tier": "visualization"}])
def test_other_pixels_are_detected_despite_warping_and_jpeg(
    chain: Chain, write_raster: WriteRaster, tmp_path: Path, options: dict[str, str]
) -> None:
    profiled = chain.profile(write_raster("a.tif", smooth(3, 300, 300), photometric="RGB"))
    plan = plan_cogs(profiled, RasterCogOptions(**options)).plans[0]  # type: ignore[arg-type]
    other = chain.profile(
        write_raster("b.tif", np.roll(smooth(3, 300, 300), 12, axis=2), photometric="RGB")
    )
    with open_source(chain.objects, other.source, scratch=chain.scratch) as source:
        write_cog(source, plan, tmp_path / "b_cog.tif")
    with (
        open_source(chain.objects, profiled.source, scratch=chain.scratch) as source,
        pytest.raises(CogInvalid, match="sampled pixels"),
    ):
        verify_cog(tmp_path / "b_cog.tif", source, plan, source_size_bytes=1)


def test_a_reprojection_that_did_nothing_is_refused(
    chain: Chain, write_raster: WriteRaster, tmp_path: Path
) -> None:
    profiled = chain.profile(write_raster("a.tif", smooth(1, 100, 100)))
    kept = plan_cogs(profiled, RasterCogOptions()).plans[0]
    wanted = plan_cogs(profiled, RasterCogOptions(target_crs="EPSG:3857")).plans[0]
    with open_source(chain.objects, profiled.source, scratch=chain.scratch) as source:
        write_cog(source, kept, tmp_path / "cog.tif")
        with pytest.raises(CogInvalid, match="CRS is WGS 84 / UTM zone 18N; geotransform"):
            verify_cog(tmp_path / "cog.tif", source, wanted, source_size_bytes=1)


def test_a_tiff_that_is_not_a_cog_is_refused(chain: Chain, write_raster: WriteRaster) -> None:
    path = write_raster(
        "a.tif", smooth(1, 1200, 1200), tiled=True, blockxsize=512, blockysize=512, compress="zstd"
    )
    profiled = chain.profile(path)
    plan = (
        plan_cogs(profiled, RasterCogOptions()).plans[0].model_copy(update={"overview_factors": ()})
    )
    with (
        open_source(chain.objects, profiled.source, scratch=chain.scratch) as source,
        pytest.raises(CogInvalid, match="not a valid COG"),
    ):
        verify_cog(path, source, plan, source_size_bytes=1)


def test_a_cog_that_grew_gets_a_warning(chain: Chain, write_raster: WriteRaster) -> None:
    path = write_raster(
        "rgb.tif", smooth(3, 256, 256), photometric="YCBCR", compress="jpeg", jpeg_quality=30
    )
    stored = chain.cogs(chain.profile(path))
    assert stored.cogs[0].verification.size_ratio > 1.5
    assert "COG_GREW" in [warning.code for warning in stored.warnings]


def test_only_the_driver_of_the_format_opens_and_nothing_remote_is_reached(
    chain: Chain, write_raster: WriteRaster
) -> None:
    profiled = chain.profile(write_raster("a.tif", smooth(1, 20, 20)))
    with (
        open_source(chain.objects, profiled.source, scratch=chain.scratch) as source,
        open_raster(source) as dataset,
    ):
        assert dataset.driver == "GTiff"
        with pytest.raises(rasterio.errors.RasterioIOError):
            rasterio.open("/vsicurl/http://127.0.0.1:9/a.tif")


@pytest.mark.parametrize("cut", ["east", "south"])
def test_a_reprojection_that_leaves_data_out_is_refused(
    chain: Chain, write_raster: WriteRaster, tmp_path: Path, cut: str
) -> None:
    profiled = chain.profile(write_raster("a.tif", smooth(1, 300, 300)))
    whole = plan_cogs(profiled, RasterCogOptions(target_crs="EPSG:4326")).plans[0]
    rows, cols = whole.shape.rows, whole.shape.cols
    smaller = whole.model_copy(
        update={
            "shape": GridShape(rows=rows, cols=cols * 19 // 20)
            if cut == "east"
            else GridShape(rows=rows * 19 // 20, cols=cols)
        }
    )
    with open_source(chain.objects, profiled.source, scratch=chain.scratch) as source:
        write_cog(source, smaller, tmp_path / "cog.tif")
        with pytest.raises(CogInvalid, match="valid pixels of the source are outside"):
            verify_cog(tmp_path / "cog.tif", source, smaller, source_size_bytes=1)


def test_a_reprojection_that_lost_a_side_of_the_source_is_refused(
    chain: Chain, write_raster: WriteRaster, tmp_path: Path
) -> None:
    pixels = smooth(1, 300, 300)
    lost = pixels.copy()
    lost[0, :, 285:] = 0
    profiled, other = (
        chain.profile(write_raster(name, values, nodata=0))
        for name, values in (("a.tif", pixels), ("b.tif", lost))
    )
    plan = plan_cogs(profiled, RasterCogOptions(target_crs="EPSG:4326")).plans[0]
    with open_source(chain.objects, other.source, scratch=chain.scratch) as source:
        write_cog(source, plan, tmp_path / "cog.tif")
    with (
        open_source(chain.objects, profiled.source, scratch=chain.scratch) as source,
        pytest.raises(CogInvalid, match="valid pixels of the source are not at their place"),
    ):
        verify_cog(tmp_path / "cog.tif", source, plan, source_size_bytes=1)
