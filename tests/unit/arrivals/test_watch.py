"""Which objects a watch covers, and what its file may contain."""

import re
from pathlib import Path

import pytest

from geo_platform.arrivals.watch import DEFAULT_WATCH, Watch, read_watches, watch_of
from geo_platform.chains.raster import RASTER
from geo_platform.chains.vector import VECTOR
from geo_platform.errors import ParameterInvalid

DOCUMENTED = Path(__file__).resolve().parents[3] / "docs" / "arrivals.md"


def test_the_example_in_the_documentation_is_valid(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", DOCUMENTED.read_text("utf-8"), re.DOTALL)
    assert example is not None
    (tmp_path / "watches.toml").write_text(example[1], "utf-8")
    elevation, parcels = read_watches(tmp_path / "watches.toml")
    assert elevation.options_for(RASTER)["raster_cog"]["target_crs"] == "EPSG:3857"
    assert elevation.options_for(RASTER)["raw_raster"]["container_name"] == "bronze"
    assert parcels.complete_within_s == 300
    assert watch_of([elevation, parcels], "bronze", "dem/north/a.tif") is elevation
    assert watch_of([elevation, parcels], "bronze", "dem/old/a.tif") is elevation, (
        "the folder old is only excluded at the top"
    )
    assert watch_of([elevation, parcels], "bronze", "dem/north/old/a.tif") is None
    assert watch_of([elevation, parcels], "bronze", "dem/readme.md") is None
    assert watch_of([elevation, parcels], "silver", "dem/a.tif") is None


def test_without_a_file_the_whole_of_bronze_is_watched() -> None:
    assert read_watches(None) == (DEFAULT_WATCH,)
    assert DEFAULT_WATCH.covers("bronze", "any/where.gpkg")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[[watch]]\nname = "a"\nprefx = "x"', "prefx"),
        (
            '[[watch]]\nname = "a"\n[watch.parameters]\nno_such = 1',
            "no_such: no parameter of any job",
        ),
        ('[[watch]]\nname = "a"\n[watch.parameters]\njpeg_quality = 101', "jpeg_quality"),
        ('[[watch]]\nname = "A b"', "name"),
        ('[[watch]]\nname = "a"\n[[watch]]\nname = "a"', "two of one name"),
        ("", "no watch"),
        ("[[watch", "cannot be read"),
    ],
)
def test_an_invalid_file_is_refused_with_the_reason(text: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "watches.toml").write_text(text, "utf-8")
    with pytest.raises(ParameterInvalid, match=re.escape(named)) as refused:
        read_watches(tmp_path / "watches.toml")
    assert "docs/arrivals.md" in str(refused.value.remedy)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterInvalid, match=r"missing\.toml"):
        read_watches(tmp_path / "missing.toml")


def test_a_watch_with_parameters_of_one_chain_still_takes_both() -> None:
    watch = Watch(name="a", parameters={"jpeg_quality": 70})
    assert watch.options_for(RASTER)["raster_cog"]["jpeg_quality"] == 70
    assert "jpeg_quality" not in str(watch.options_for(VECTOR))
