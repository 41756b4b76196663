"""Profile by ranges: what it fetches, and that errors of the store are not taken for the file's.

`test_profile.py` tests that the profile itself is the same.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetWriter
from rasterio.windows import Window

from geo_platform.chains.raster import ARRIVAL, PROFILE
from geo_platform.errors import (
    Conflict,
    PlatformError,
    RasterEmpty,
    SourceTruncated,
    StoreUnavailable,
    UnsupportedFormat,
)
from geo_platform.grid import GridShape
from geo_platform.options import ArrivalOptions
from geo_platform.raster.open import RangedFolder, open_raster
from geo_platform.raster.options import RasterProfileOptions
from geo_platform.raster.profile import profile_object
from geo_platform.raster.sample import plan_fetched_sample, read_sample
from geo_platform.source import arrival
from geo_platform.source.arrival import open_source, receive
from tests.support.far import FarFolder
from tests.unit.raster.conftest import Chain, WriteRaster, smooth

COST_BYTES = 8_000_000


@pytest.fixture
def far(chain: Chain) -> Chain:
    chain.objects = FarFolder(chain.objects.root)
    return chain


def fetched(chain: Chain) -> FarFolder:
    assert isinstance(chain.objects, FarFolder)
    return chain.objects


def noise(bands: int, size: int, dtype: str = "uint8") -> NDArray[Any]:
    """Return a gradient, which a sample of one corner misjudges, with incompressible noise."""
    ramp = np.add.outer(np.arange(size), np.arange(size)) * 150 // (2 * size)
    return (ramp + np.random.default_rng(1).integers(1, 60, (bands, size, size))).astype(dtype)


@pytest.mark.parametrize(
    ("bands", "size", "layout"),
    [
        (3, 4000, {"tiled": True, "blockxsize": 512, "blockysize": 512}),
        (
            3,
            4000,
            {
                "tiled": True,
                "blockxsize": 512,
                "blockysize": 512,
                "compress": "deflate",
                "zlevel": 1,
            },
        ),
        (3, 4000, {"tiled": True, "blockxsize": 2048, "blockysize": 2048}),
        (
            3,
            4000,
            {
                "tiled": True,
                "blockxsize": 2048,
                "blockysize": 2048,
                "compress": "deflate",
                "zlevel": 1,
            },
        ),
        (3, 4000, {"tiled": True, "interleave": "band", "BIGTIFF": "YES"}),
        (3, 4000, {}),
        (12, 2000, {"tiled": True, "blockxsize": 1024, "blockysize": 1024, "interleave": "pixel"}),
    ],
    ids=[
        "tiles",
        "compressed",
        "huge tiles",
        "huge compressed tiles",
        "bands apart",
        "strips",
        "many bands",
    ],
)
def test_a_large_tiff_is_sampled_all_over_with_few_bytes_fetched(
    far: Chain, write_raster: WriteRaster, bands: int, size: int, layout: dict[str, Any]
) -> None:
    pixels = noise(bands, size)
    profiled = far.profile(write_raster("large.tif", pixels, **layout))
    store = fetched(far)
    is_one_block_too_much = layout.get("compress") is not None and layout["blockxsize"] == 2048
    assert store.whole == []
    assert sum(store.fetches) < (COST_BYTES if not is_one_block_too_much else 2 * COST_BYTES)
    assert profiled.bands[0].statistics is not None
    if not is_one_block_too_much:
        assert profiled.bands[0].statistics.mean == pytest.approx(pixels[0].mean(), rel=0.1)


def test_sidecars_are_read_by_ranges_too(
    far: Chain, write_raster: WriteRaster, tmp_path: Path
) -> None:
    mask = np.tile(np.repeat(np.array([0, 255], dtype="uint8"), 2000), (1, 4000, 1))
    write_raster("mask.tif", mask, change=_as_mask, compress="deflate", tiled=True)
    with pytest.warns(NotGeoreferencedWarning):
        path = write_raster(
            "large.tif",
            noise(3, 4000),
            tiled=True,
            blockxsize=512,
            blockysize=512,
            crs=None,
            transform=None,
        )
    beside = {
        "large.tfw": b"10\n0\n0\n-10\n500005\n4499995\n",
        "large.tif.msk": (tmp_path / "mask.tif").read_bytes(),
        "large.tif.aux.xml": (
            b'<PAMDataset><PAMRasterBand band="1"><Description>red light</Description>'
            b"</PAMRasterBand></PAMDataset>"
        ),
    }
    for name, content in beside.items():
        (tmp_path / name).write_bytes(content)
    profiled = far.profile(path, *(tmp_path / name for name in beside), input_crs="EPSG:32618")
    assert profiled.georeference.transform[:6] == (10.0, 0.0, 500000.0, 0.0, -10.0, 4500000.0)
    assert (profiled.bands[0].description, profiled.bands[0].mask) == ("red light", "per_dataset")
    assert profiled.bands[0].statistics is not None
    assert profiled.bands[0].statistics.valid_percent == pytest.approx(50, abs=20)
    assert (sum(fetched(far).fetches) < COST_BYTES, fetched(far).whole) == (True, [])


def _as_mask(target: DatasetWriter) -> None:
    target.update_tags(INTERNAL_MASK_FLAGS_1="2")


def test_a_sidecar_that_may_not_be_followed_is_refused(
    far: Chain, write_raster: WriteRaster, tmp_path: Path, small: None
) -> None:
    mask = tmp_path / "a.tif.msk"
    mask.write_text("<VRTDataset/>")
    with pytest.raises(UnsupportedFormat, match="mask"):
        far.profile(write_raster("a.tif", smooth(1, 64, 64)), mask)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read small files by ranges too."""
    monkeypatch.setattr(arrival, "MAX_DOWNLOADED_BYTES", 0)


def test_a_small_tiff_is_fetched_once_and_whole(far: Chain, write_raster: WriteRaster) -> None:
    far.profile(write_raster("a.tif", smooth(1, 64, 64)))
    assert fetched(far).whole == ["a.tif"]


@pytest.mark.parametrize(
    "fault", [StoreUnavailable("the network is gone"), Conflict("it was replaced")], ids=str
)
def test_an_error_of_the_store_at_any_read_is_raised(
    far: Chain, write_raster: WriteRaster, tmp_path: Path, small: None, fault: PlatformError
) -> None:
    """It is not reported as a damaged file, or as a missing mask or georeference."""
    with pytest.warns(NotGeoreferencedWarning):
        path = write_raster(
            "a.tif",
            noise(3, 600),
            np.tri(600, dtype="uint8") * 255,
            tiled=True,
            transform=None,
            crs=None,
        )
    beside = {"a.tfw": b"10\n0\n0\n-10\n500005\n4499995\n", "a.tif.aux.xml": b"<PAMDataset/>"}
    for name, content in beside.items():
        (tmp_path / name).write_bytes(content)
    options, store = RasterProfileOptions(input_crs="EPSG:32618"), fetched(far)
    arrived = far.arrive(path, *(tmp_path / name for name in beside))
    store.fetches.clear()
    expected = profile_object(arrived, options, store, recipe=PROFILE.recipe, scratch=far.scratch)
    needed = len(store.fetches)
    store.fault = fault
    assert needed > 5
    for store.fails_at in range(needed):
        store.fetches.clear()
        with pytest.raises(type(fault)) as raised:
            profile_object(arrived, options, store, recipe=PROFILE.recipe, scratch=far.scratch)
        assert raised.value.message == fault.message
    store.fetches.clear()
    store.fails_at = needed
    assert (
        profile_object(arrived, options, store, recipe=PROFILE.recipe, scratch=far.scratch)
        == expected
    )


def test_a_raster_without_a_valid_pixel_costs_its_bytes_once(
    far: Chain, write_raster: WriteRaster, small: None
) -> None:
    path = write_raster(
        "empty.tif", np.zeros((1, 3000, 3000), dtype="uint16"), nodata=0, tiled=True
    )
    with pytest.raises(RasterEmpty, match="all of it is nodata"):
        far.profile(path)
    assert path.stat().st_size < sum(fetched(far).fetches) < 1.6 * path.stat().st_size


def test_a_large_file_that_ends_too_early_is_refused(far: Chain, write_raster: WriteRaster) -> None:
    path = write_raster("cut.tif", noise(3, 4000), tiled=True)
    with path.open("r+b") as file:
        file.truncate(35_000_000)
    with pytest.raises(SourceTruncated, match=r"cut\.tif"):
        far.profile(path)


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("nodata", [None, 17])
def test_rows_of_a_tile_have_the_same_pixels_as_the_tile(
    far: Chain, write_raster: WriteRaster, small: None, interleave: str, nodata: int | None
) -> None:
    layout = {
        "tiled": True,
        "blockxsize": 1024,
        "blockysize": 1024,
        "interleave": interleave,
        "nodata": nodata,
    }
    arrived = far.arrive(write_raster("a.tif", noise(12, 2000, "uint16"), **layout))
    values = (nodata,) * 12
    with (
        open_source(far.objects, arrived, scratch=far.scratch, by_ranges=True) as source,
        open_raster(source) as whole,
    ):
        plan = plan_fetched_sample(
            whole, GridShape(rows=2000, cols=2000), GridShape(rows=1024, cols=1024), 24
        )
        with open_raster(source, partial_tiles=True) as partial:
            in_part = read_sample(partial, plan.windows, values)
        expected = read_sample(whole, plan.windows, values)
    assert (plan.partial_tiles, len(plan.windows)) == (True, 4)
    assert {window.width for window in plan.windows} == {1024, 976}
    for one, other in zip(in_part, expected, strict=True):
        assert (one.values == other.values).all()


def test_several_threads_may_profile_at_once(
    far: Chain, write_raster: WriteRaster, small: None
) -> None:
    """The command line runs each job in its own thread."""
    path = write_raster("a.tif", noise(3, 300), tiled=True)
    expected = far.profile(path)
    arrived = receive(far.objects, "bronze", "a.tif", ArrivalOptions(), recipe=ARRIVAL.recipe)
    with ThreadPoolExecutor(4) as pool:
        futures = [
            pool.submit(
                profile_object,
                arrived,
                RasterProfileOptions(),
                far.objects,
                recipe=PROFILE.recipe,
                scratch=far.scratch,
            )
            for _ in range(12)
        ]
        assert all(future.result().bands == expected.bands for future in futures)


def test_the_folder_given_to_a_driver_holds_the_source_only(
    far: Chain, write_raster: WriteRaster, tmp_path: Path, small: None
) -> None:
    arrived = far.arrive(write_raster("a.tif", smooth(1, 64, 64)))
    with open_source(far.objects, arrived, scratch=tmp_path, by_ranges=True) as source:
        folder = RangedFolder(source.ranged)
        assert (folder.ls("/x"), folder.isfile("/x/source.tif"), folder.isfile("/x/a.tif")) == (
            ["source.tif"],
            True,
            False,
        )
        for name, mode in (
            ("/etc/passwd", "rb"),
            ("/x/source.tif", "r+b"),
            ("/x/source.tif", "wb"),
            ("/x/source.tif.ovr", "rb"),
        ):
            with pytest.raises(FileNotFoundError):
                folder.open(name, mode)
        with open_raster(source) as dataset:
            assert dataset.read(window=Window(0, 0, 2, 2)).shape == (1, 2, 2)
        assert not Path(source.gdal_path).exists()
