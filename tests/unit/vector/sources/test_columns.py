"""Keys, unsigned integers and zones of times in formats that GDAL reads."""

import zipfile
from datetime import UTC, datetime
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import shapely

from tests.unit.vector.harness import Platform, Write

_POINTS = [shapely.Point(i, 50) for i in range(3)]


def test_unsigned_integers_of_flatgeobuf_keep_their_digits(
    platform: Platform, write: Write
) -> None:
    values = [2**53 + 1, 2**62 + 1, -1]
    path = write(geopandas.GeoDataFrame({"n": values}, geometry=_POINTS, crs=4326), "n.fgb")
    data = bytearray(path.read_bytes())
    header = 12 + int.from_bytes(data[8:12], "little")
    # The type of the column: 7 is Long, 8 is ULong.
    *_, position = (at for at in range(12, header) if data[at] == 7 and _is_type(path, data, at))
    data[position] = 8
    path.write_bytes(data)
    assert geopandas.read_file(path).dtypes["n"] == "float64", "GDAL reads doubles"
    profiled = platform.profile(path)
    loaded = platform.load(profiled)
    wanted = [str(value) for value in (2**53 + 1, 2**62 + 1, 2**64 - 1)]
    assert sorted(platform.table(loaded)["n"].to_pylist()) == sorted(wanted)
    assert [warning.code for warning in profiled.warnings] == ["NUMBERS_AS_TEXT"]
    data[:] = data.replace((2**64 - 1).to_bytes(8, "little"), (2**63 - 1).to_bytes(8, "little"))
    path.write_bytes(data)
    table = platform.table(platform.load(platform.profile(path)))
    assert sorted(table["n"].to_pylist()) == [2**53 + 1, 2**62 + 1, 2**63 - 1]


def test_texts_of_flatgeobuf_with_u0000_are_said(platform: Platform, write: Write) -> None:
    texts = {"a": ["x-y", "ok", None], "b": ["one", "two", "three"]}
    path = write(geopandas.GeoDataFrame(texts, geometry=_POINTS, crs=4326), "t.fgb")
    assert platform.profile(path).warnings == ()
    path.write_bytes(path.read_bytes().replace(b"x-y", b"x\0y"))
    profiled = platform.profile(path)
    assert [(each.code, each.message) for each in profiled.warnings] == [
        (
            "TEXT_CUT",
            "Columns with U+0000 in texts: 'a'. These texts are published up to it.",
        )
    ]
    assert platform.load(profiled).inserted == 3


def test_names_of_flatgeobuf_columns_may_repeat(platform: Platform, write: Write) -> None:
    columns = {"aa": ["x", "y", "z"], "bb": ["1", "2", "3"], "cc": [1, 2, 3], "dd": [4, 5, 6]}
    path = write(geopandas.GeoDataFrame(columns, geometry=_POINTS, crs=4326), "d.fgb")
    data = path.read_bytes()
    for old, new in ((b"bb", b"aa"), (b"dd", b"cc")):
        data = data.replace(b"\2\0\0\0" + old + b"\0", b"\2\0\0\0" + new + b"\0")
    path.write_bytes(data)
    table = platform.table(platform.load(platform.profile(path))).sort_by("aa")
    published = {name: table[name].to_pylist() for name in table.schema.names if name != "geometry"}
    published.pop("bbox", None)
    assert published == {
        "aa": ["x", "y", "z"],
        "aa_2": ["1", "2", "3"],
        "cc": [1, 2, 3],
        "cc_2": [4, 5, 6],
    }


def _is_type(path: Path, data: bytearray, position: int) -> bool:
    changed = bytearray(data)
    changed[position] = 8
    trial = path.with_name("trial.fgb")
    trial.write_bytes(changed)
    try:
        frame = geopandas.read_file(trial)
        return bool(frame.dtypes["n"] == "float64") and frame["n"].max() > 2.0**63
    except (RuntimeError, KeyError, ValueError):
        return False


def test_keys_and_times_of_a_file_geodatabase(platform: Platform, tmp_path: Path) -> None:
    folder = tmp_path / "t.gdb"
    times = pd.to_datetime(["2020-01-01T09:00:00Z", None, "2020-01-02T09:00:00Z"])
    frame = geopandas.GeoDataFrame({"t": times}, geometry=_POINTS, crs=4326)
    frame.to_file(folder, driver="OpenFileGDB")
    archive = tmp_path / "t.gdb.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for member in sorted(folder.iterdir()):
            opened.write(member, f"t.gdb/{member.name}")
    loaded = platform.load(platform.profile(archive))
    table = platform.table(loaded).sort_by("objectid")
    assert [field.source for field in loaded.fields] == ["OBJECTID", "t"]
    assert table["objectid"].to_pylist() == [1, 2, 3]
    wanted = [datetime(2020, 1, 1, 9, tzinfo=UTC), None, datetime(2020, 1, 2, 9, tzinfo=UTC)]
    assert table["t"].to_pylist() == wanted


def test_times_and_ids_of_placemarks(platform: Platform, tmp_path: Path) -> None:
    placemark = (
        '<Placemark id="{0}"><TimeStamp><when>2020-01-01T0{1}:00:00{2}</when></TimeStamp>'
        "<Point><coordinates>{1},50</coordinates></Point></Placemark>"
    )
    text = placemark.format("a7", 1, "+02:00") + placemark.format("b8", 2, "Z")
    path = tmp_path / "t.kml"
    path.write_text(
        f'<kml xmlns="http://www.opengis.net/kml/2.2"><Document>{text}</Document></kml>'
    )
    table = platform.table(platform.load(platform.profile(path))).sort_by("id")
    assert table["id"].to_pylist() == ["a7", "b8"]
    assert table["timestamp"].to_pylist() == [
        datetime(2019, 12, 31, 23, tzinfo=UTC),
        datetime(2020, 1, 1, 2, tzinfo=UTC),
    ]


def test_the_extent_in_a_header_counts_for_nothing(platform: Platform, write: Write) -> None:
    frame = geopandas.GeoDataFrame({"n": [1, 2, 3]}, geometry=_POINTS, crs=4326)
    path = write(frame, "p.shp")
    data = bytearray(path.read_bytes())
    # Bytes 36 to 67 of a .shp are the extent: xmin, ymin, xmax, ymax.
    data[36:68] = np.array([0.0, 5e6, 1.0, 6e6]).tobytes()
    path.write_bytes(data)
    parts = [path.with_suffix(suffix) for suffix in (".shp", ".shx", ".dbf", ".prj")]
    profiled = platform.profile(*parts)
    assert profiled.extent is not None
    assert profiled.extent.xyxy == (0, 50, 2, 50)
