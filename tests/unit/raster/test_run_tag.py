"""Write the run id into a COG: GDAL reads it, nothing else changes, and the COG stays valid."""

import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rio_cogeo import cog_validate

from geo_platform.errors import CogInvalid
from geo_platform.raster.run_tag import RUN_ID_ITEM, write_run_id
from tests.unit.raster.conftest import Chain, WriteRaster, smooth

RUN = "0c6bd0d6-6b0b-4c0e-a08e-4f1a54a1c0de"
TAGS = {
    "TIFFTAG_SOFTWARE": "Other 1.0",
    "TIFFTAG_DOCUMENTNAME": "a sheet",
    "PLACE": 'Ærø & "Ast" <b>',
}
NAMES = {  # shape, tags, creation options
    "without any tag": ((1, 1100, 1300), {}, {}),
    "with tags": ((3, 1100, 1300), TAGS, {"COMPRESS": "ZSTD"}),
    "BigTIFF without any tag": ((1, 1100, 1300), {}, {"BIGTIFF": "YES"}),
    "BigTIFF with tags": ((1, 1100, 1300), TAGS, {"BIGTIFF": "YES"}),
    "JPEG": ((3, 1100, 1300), {}, {"COMPRESS": "JPEG"}),
    "one tile, whose offset is inline in the directory": ((1, 40, 50), {}, {}),
    "two tiles of a BigTIFF": ((1, 40, 600), TAGS, {"BIGTIFF": "YES"}),
    "empty tiles, which have no offset": ((1, 1100, 1300), {}, {"SPARSE_OK": "YES"}),
}


def as_read(path: Path) -> dict[str, Any]:
    """Return all metadata but the run id, and every pixel and mask of every overview."""
    with rasterio.open(path) as dataset:
        levels = range(len(dataset.overviews(1)))
        tags = {name: value for name, value in dataset.tags().items() if name != RUN_ID_ITEM}
        header = [
            str(dataset.profile),
            tags,
            dataset.tags(1),
            dataset.overviews(1),
            dataset.mask_flag_enums,
            dataset.colorinterp,
        ]
    pixels = []
    for options in ({}, *({"overview_level": level} for level in levels)):
        with rasterio.open(path, **options) as dataset:
            pixels += [dataset.read().tobytes(), dataset.dataset_mask().tobytes()]
    return {"header": header, "pixels": pixels}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("masked", [False, True], ids=["", "mask"])
def test_gdal_reads_the_id_and_nothing_else_changes(
    tmp_path: Path, write_raster: WriteRaster, name: str, masked: bool
) -> None:
    (bands, rows, cols), tags, options = NAMES[name]
    pixels = smooth(bands, rows, cols)
    pixels[:, : rows // 2] = 0
    mask = np.tile(np.array([[0, 255]], dtype="uint8"), (rows, cols // 2)) if masked else None
    source = write_raster("a.tif", pixels, mask, change=lambda target: target.update_tags(**tags))
    cog = tmp_path / "cog.tif"
    rasterio.shutil.copy(str(source), str(cog), driver="COG", **options)
    before = as_read(cog)
    for run_id in (RUN, str(uuid.uuid4()), "a & <b>", RUN):
        write_run_id(cog, run_id)
        with rasterio.open(cog) as written:
            assert written.tags()[RUN_ID_ITEM] == run_id
        assert as_read(cog) == before
        assert cog_validate(str(cog), strict=True) == (True, [], [])
    assert not cog.with_name("cog.tif.aux.xml").exists()
    assert cog.read_bytes().count(RUN.encode()) == 1


def test_two_runs_of_one_recipe_differ_in_the_id_only(
    chain: Chain, write_raster: WriteRaster
) -> None:
    profiled = chain.profile(write_raster("a.tif", smooth(3, 700, 600), photometric="RGB"))
    runs = [str(uuid.uuid4()) for _ in range(2)]
    stored = [chain.cogs(profiled, run_id=run_id, force=True) for run_id in runs]
    assert stored[0].cogs[0].sha256 != stored[1].cogs[0].sha256
    second = chain.file(stored[1]).read_bytes()
    chain.cogs(profiled, run_id=runs[0], force=True)
    assert chain.file(stored[0]).read_bytes() == second.replace(runs[1].encode(), runs[0].encode())
    for one, other in (
        (stored[0].thumbnail, stored[1].thumbnail),
        (stored[0].preview, stored[1].preview),
    ):
        assert one.key == other.key
        assert chain.objects.stat(one.container, one.key).metadata["run_id"] == runs[0]


def test_a_cog_that_is_ingested_again_names_the_new_run(
    chain: Chain, write_raster: WriteRaster, tmp_path: Path
) -> None:
    first = chain.cogs(chain.profile(write_raster("a.tif", smooth(1, 60, 50))), run_id=RUN)
    again = tmp_path / "again.tif"
    again.write_bytes(chain.file(first).read_bytes())
    second = chain.cogs(chain.profile(again), run_id="run-2")
    with rasterio.open(chain.file(second)) as cog:
        assert cog.tags()[RUN_ID_ITEM] == "run-2"
    assert RUN.encode() not in chain.file(second).read_bytes()


@pytest.mark.parametrize(
    "content",
    [b"II*\0", b"GIF89a", b"", b"II*\0\x08\0\0\0\xff\xff"],
    ids=["cut", "no TIFF", "empty", "half"],
)
def test_an_incomplete_tiff_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cog.tif"
    path.write_bytes(content)
    with pytest.raises(CogInvalid, match="run id could not be written"):
        write_run_id(path, RUN)
