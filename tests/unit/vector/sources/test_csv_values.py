"""Values of CSV files: every digit is kept, and geometry is read however it is written."""

import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyproj
import pytest
import shapely

from geo_platform import errors
from geo_platform.vector.curves import linearised_wkb, linearised_wkt, nests_too_deep
from geo_platform.vector.sources.csv_geometry import coordinates, geometries, srids_of
from geo_platform.vector.sources.text_types import ColumnTypes, text_findings
from tests.unit.vector.harness import Platform


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["9223372036854775807", "-9223372036854775807"], "int64"),
        (["9223372036854775808", "1"], "string"),
        (["1582917533873852417", "1.5"], "string"),
        (["999999999999999", "1.5"], "float64"),
        (["1E5", "2E10"], "string"),
        (["1.0E5", "2e-07", "3e+20"], "float64"),
        (["1e400", "1.5"], "string"),
        (["1.5e400"], "string"),
        (["+4930", "1"], "string"),
        (["007", "8"], "string"),
        (["-0", "1"], "float64"),
        (["2016-02-30"], "string"),
        (["12,75"], "string"),
        ([None, None], "string"),
    ],
)
def test_a_number_is_one_only_if_no_digit_is_lost(values: list[str], kind: str) -> None:
    column = ColumnTypes()
    column.add(pa.array(values, pa.string()))
    assert column.described("a").type.value == kind


def test_what_a_reader_may_not_expect_is_said() -> None:
    contents = {
        "parcel": ["52104700010023410001", "1"],
        "code": ["1E5"],
        "comma": ["12,75"],
        "word": ["a"],
        "java": ["1.0E5"],
        "pi": ["3.14159265358979323846"],
        "short": ["3.14159265358979"],
        "late": ["2020-01-01"],
    }
    columns = []
    for values in contents.values():
        columns.append(ColumnTypes())
        columns[-1].add(pa.array(values))
    columns[-1].add(pa.array(["5"]))
    found = {finding.code: finding.message for finding in text_findings(list(contents), columns)}
    assert found == {
        "NUMBERS_AS_TEXT": "Published as text, because a number would lose digits: "
        "'parcel', 'code', 'comma'.",
        "EXPONENTS_AS_NUMBERS": "Published as numbers: values with exponents: 'java'.",
        "DIGITS_ROUNDED": "Rounded to about 16 digits, as float64 holds them: 'pi'.",
    }


def test_degrees_minutes_and_seconds() -> None:
    latitudes = {
        "50°30'00\"N": 50.5,
        "50°30′36″ N": 50.51,
        "N50 30 36": 50.51,
        "50:30:36S": -50.51,
        "50° 30.6' S": -50.51,
        "-50.5°": -50.5,
        "50.5N": 50.5,
        "50d30m36sN": 50.51,
        "7,5": 7.5,
        "50 30 36": None,
        "50°60'N": None,
        "91°N": None,
        "7°E": None,
        "-5°S": None,
        "503036N": None,
        "50°30'36s": 50.51,
        "abc": None,
    }
    values, in_degrees = coordinates(pa.array([*latitudes, None]), 1)
    read = [None if np.isnan(value) else round(float(value), 9) for value in values]
    assert read == [*latitudes.values(), None]
    assert in_degrees == 9


def test_cells_with_geometry_and_their_srids() -> None:
    point = shapely.set_srid(shapely.Point(1, 2), 4326)
    extended = shapely.to_wkb(point, hex=True, include_srid=True)
    big_endian = shapely.to_wkb(point, hex=True, byte_order=0)
    cells = [extended, "\\x" + big_endian, "0x" + extended.lower(), "SRID=25832;POINT(1 2)"]
    read = geometries(pa.array([*cells, None, "0101zz", "TIN(((0 0,1 1,1 0,0 0)))", "POINT("]))
    assert [shapely.from_wkb(wkb) for wkb in read.wkb.to_pylist()[:4]] == [point] * 4
    assert {row: fault.code for row, fault in read.faults.items()} == {
        5: "WKT_UNREADABLE",
        6: "GEOMETRY_UNSUPPORTED",
        7: "WKT_UNREADABLE",
    }
    assert srids_of(pa.array(cells)) == {4326, 25832, None}
    assert srids_of(pa.array([extended, None])) == {4326}
    assert srids_of(pa.array(["SRID=0;POINT(1 2)"])) == {None}


@pytest.mark.parametrize(
    ("text", "kind", "length"),
    [
        ("CIRCULARSTRING(0 0,1 1,2 0)", "LineString", np.pi),
        ("CIRCULARSTRING(0 0,1 -1,2 0,3 1,4 0)", "LineString", 2 * np.pi),
        ("CIRCULARSTRING Z(0 0 1,1 1 2,2 0 3)", "LineString", np.pi),
        ("CIRCULARSTRING(0 0,1 0,2 0)", "LineString", 2),
        ("COMPOUNDCURVE((0 0,1 1),CIRCULARSTRING(1 1,2 2,3 1))", "LineString", np.pi + 2**0.5),
        ("MULTICURVE((0 0,1 1),CIRCULARSTRING(0 0,1 1,2 0))", "MultiLineString", np.pi + 2**0.5),
        ("CURVEPOLYGON(CIRCULARSTRING(0 0,2 0,0 0))", "Polygon", 2 * np.pi),
        (
            "MULTISURFACE(((0 0,1 0,1 1,0 1,0 0)),CURVEPOLYGON(CIRCULARSTRING(5 0,7 0,5 0)))",
            "MultiPolygon",
            4 + 2 * np.pi,
        ),
        ("GEOMETRYCOLLECTION(POINT(1 2),CIRCULARSTRING(0 0,1 1,2 0))", "GeometryCollection", np.pi),
    ],
)
def test_curves_become_segments(text: str, kind: str, length: float) -> None:
    geometry = linearised_wkt(text)
    assert geometry is not None
    assert geometry.geom_type == kind
    assert geometry.length == pytest.approx(length, rel=1e-3)
    assert geometry.has_z == (" Z" in text)


def test_curves_in_bytes_and_broken_ones() -> None:
    arc = "0108000000030000000000000000000000000000000000000000000000" + (
        "0000F03F000000000000F03F00000000000000400000000000000000"
    )
    geometry = linearised_wkb(bytes.fromhex(arc))
    assert geometry is not None
    assert geometry.equals_exact(linearised_wkt("CIRCULARSTRING(0 0,1 1,2 0)"), 1e-12)
    assert linearised_wkb(bytes.fromhex(arc)[:-4]) is None
    assert linearised_wkb(bytes.fromhex("0108000000FFFFFFFF")) is None
    for text in ("CIRCULARSTRING(0 0,1 1)", "CIRCULARSTRING(0 0,1e999 1,2 0)", "MULTICURVE((", "("):
        assert linearised_wkt(text) is None


def test_a_header_over_several_lines(platform: Platform, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"a,{row},7,50" for row in range(20)]
    rows[3] += ",9"
    path.write_bytes("\r\n".join(['name,"height\r\n(m)",lon,lat', *rows]).encode())
    loaded = platform.load(platform.profile(path))
    assert sorted(platform.table(loaded).column("height_m").to_pylist()) == [
        row for row in range(20) if row != 3
    ]
    assert [row["row_number"] for row in platform.rejected(loaded)] == [3]


def test_some_rows_without_an_srid_are_said_and_cells_without_geometry_named(
    platform: Platform, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,geom\n1,SRID=4326;POINT(7 50)\n2,POINT(8 51)\n")
    assert [warning.code for warning in platform.profile(path).warnings] == ["SRID_ASSUMED"]
    path.write_text("id,geom\n1,hello\n2,world\n")
    with pytest.raises(errors.NoGeometry, match="first value: 'hello'"):
        platform.profile(path)
    path.write_text("id,lon,lat\n1,here,there\n")
    with pytest.raises(errors.NoGeometry, match="first values: 'here', 'there'"):
        platform.profile(path)


def test_a_few_placeholders_do_not_hide_that_columns_hold_degrees(
    platform: Platform, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,lon,lat\n" + "".join(f"{n},7.{n},50\n" for n in range(19)) + "19,999,999\n")
    profiled = platform.profile(path)
    assert profiled.crs.authority_code == "EPSG:4326"
    loaded = platform.load(profiled)
    assert loaded.bounds.xyxy == (7.0, 50.0, 7.9, 50.0)
    assert [(row["row_number"], row["reason"]) for row in platform.rejected(loaded)] == [
        (19, "COORDINATES_IMPLAUSIBLE")
    ]


@pytest.mark.parametrize("characters", [140_000, 5_000_000])
def test_outlines_of_any_length(platform: Platform, tmp_path: Path, characters: int) -> None:
    path = tmp_path / "a.csv"
    steps = range(characters // 20)
    ring = ",".join(f"{step * 1e-6:.9f} 50.1234" for step in steps) + ",0 51,0.000000000 50.1234"
    rows = [f"{n};POINT(7 50)" for n in range(60)]
    rows[1] = f'1;"SRID=4326;LINESTRING({ring})"'
    rows[2] += ";x"
    path.write_text("id;wkt\n" + "\n".join(rows))
    loaded = platform.load(platform.profile(path), mixed_geometry="keep")
    assert (loaded.read, loaded.inserted) == (60, 59)
    assert sorted(platform.table(loaded).column("id").to_pylist()) == [0, 1, *range(3, 60)]
    assert [row["row_number"] for row in platform.rejected(loaded)] == [2]


def test_collections_nested_too_deep_reject_their_row(platform: Platform, tmp_path: Path) -> None:
    depth = 20_000
    deep = "GEOMETRYCOLLECTION(" * depth + "POINT(1 2)" + ")" * depth
    wkb = bytes.fromhex("010700000001000000") * depth + shapely.to_wkb(shapely.Point(1, 2))
    assert nests_too_deep(wkb)
    assert not nests_too_deep(shapely.to_wkb(shapely.MultiPoint([[7, 7]] * 5000)))
    path = tmp_path / "a.csv"
    path.write_text(f"id;wkt\n1;{deep}\n2;{wkb.hex()}\n3;POINT(1 2)\n")
    loaded = platform.load(platform.profile(path, input_crs="EPSG:4326"))
    assert (loaded.inserted, loaded.rejected) == (1, 2)


@pytest.mark.parametrize("packed", [False, True])
def test_files_beside_a_csv_declare_its_crs_and_texts(
    platform: Platform, tmp_path: Path, packed: bool
) -> None:
    contents = {
        "a.csv": "code,x,y\n1,500000,5500000\n2,500001,5500000\n",
        "a.prj": pyproj.CRS("EPSG:25832").to_wkt("WKT1_ESRI"),
        "A.csvt": '"String","Real","Real"',
    }
    paths = [tmp_path / name for name in contents]
    for path in paths:
        path.write_text(contents[path.name])
    if packed:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for path in paths:
                archive.write(path, path.name)
        paths = [tmp_path / "a.zip"]
    profiled = platform.profile(*paths, lon_name="x", lat_name="y")
    assert (profiled.crs.authority_code, profiled.crs.came_from) == ("EPSG:25832", "file")
    assert [field.type.value for field in profiled.fields] == ["string", "int64", "int64"]


@pytest.mark.parametrize(("first", "last"), [(181, 360), (0, 359.5), (-300, -190), (352, 540)])
def test_longitudes_beyond_180_are_degrees_too(
    platform: Platform, tmp_path: Path, first: float, last: float
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"id,lon,lat\n1,{first},-10\n2,{last},20\n")
    profiled = platform.profile(path)
    assert [warning.code for warning in profiled.warnings] == ["CRS_FROM_COLUMN_NAMES"]
    frame = platform.frame(platform.load(profiled, target_crs="EPSG:3857")).to_crs(4326)
    places = frame.set_index("id").get_coordinates().x.to_dict()
    assert all(
        abs((places[n] - lon + 180) % 360 - 180) < 1e-9 for n, lon in ((1, first), (2, last))
    )


def test_projected_coordinates_are_no_longitudes(platform: Platform, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,lon,lat\n1,541,50\n2,700,50\n")
    with pytest.raises(errors.CrsMissing):
        platform.profile(path)


def test_lines_may_end_with_carriage_returns_only(platform: Platform, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    names = ["one\rline", *(f"row {n} " + "x" * 60 for n in range(1, 120_000))]
    rows = [f'{n},"{name}",7,50' for n, name in enumerate(names)]
    rows[3] += ",too many"
    path.write_bytes(("id,name,lon,lat\r" + "\r".join(rows)).encode())
    loaded = platform.load(platform.profile(path))
    table = platform.table(loaded).sort_by("id")
    assert (loaded.read, loaded.inserted) == (120_000, 119_999)
    assert table["name"].to_pylist() == [name for n, name in enumerate(names) if n != 3]
    assert [row["row_number"] for row in platform.rejected(loaded)] == [3]
