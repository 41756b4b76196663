"""Attribute tables of Shapefiles: numbers as they are written, deleted records, encodings."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import geopandas
import pytest
import shapely

from geo_platform import errors
from tests.unit.vector.harness import Platform

_COLUMNS = {"area": "N(10,2)", "id": "N(20,0)", "code": "N(19,0)", "f": "F(20,2)", "n": "N(5,0)"}
_ROWS = [
    ("12,75", "1582917533873852417", "1234567890123456789", "1.5e+02", "7"),
    ("", "92233720368547758070", "*******************", "12345678901234567.25", "1.5"),
    ("-8.5", "1", "5", "", "-3"),
    ("9", "2", "6", "4", "8"),
]


@pytest.mark.parametrize("packed", [False, True])
def test_numbers_are_exact_or_text(platform: Platform, tmp_path: Path, packed: bool) -> None:
    parts = _shapefile(tmp_path, deleted={3})
    loaded = platform.load(platform.profile(*([_zipped(parts)] if packed else parts)))
    assert (loaded.read, loaded.inserted) == (3, 3)
    table = platform.table(loaded)
    places = [shapely.from_wkb(wkb).bounds[0] for wkb in table.column("geometry").to_pylist()]
    table = table.take(sorted(range(3), key=places.__getitem__))
    assert {name: table.column(name).to_pylist() for name in _COLUMNS} == {
        "area": [12.75, None, -8.5],
        "id": ["1582917533873852417", "92233720368547758070", "1"],
        "code": [1234567890123456789, None, 5],
        "f": ["1.5e+02", "12345678901234567.25", None],
        "n": [7, 1.5, -3],
    }
    assert {finding.code: finding.message for finding in loaded.warnings} == {
        "RECORDS_DELETED": "1 records are marked as deleted in the .dbf; they are left out.",
        "NUMBERS_AS_TEXT": "Published as text, because a number would lose digits: 'id', 'f'.",
        "NUMBERS_RESPELLED": "Numbers are not written as the .dbf declares them, for example with "
        "a decimal comma: 'area', 'n'.",
    }


def test_numbers_that_gdal_reads_are_left_to_it(platform: Platform, tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame(
        {"r": [0.1, 12345.678], "i": [1, 10**17]}, geometry=_POINTS[:2], crs="EPSG:4326"
    )
    frame.to_file(tmp_path / "a.shp")
    profiled = platform.profile(*sorted(tmp_path.glob("a.sh?")), *_others(tmp_path))
    assert [field.source_type for field in profiled.fields] == ["Real", "Integer64"]
    assert profiled.warnings == ()


def test_signs_and_blanks_within_numbers(platform: Platform, tmp_path: Path) -> None:
    """GDAL reads 0 of a dash, and 12 of 12 750 and of 12-34, without a warning."""
    columns = {
        "a": "N(4,0)",
        "b": "N(8,0)",
        "c": "N(9,2)",
        "d": "N(6,0)",
        "e": "F(9,2)",
        "f": "N(1,0)",
    }
    rows = [
        ("-", "12 750", "1.5-", "-7", "-1.5e-05", "-"),
        ("007", "3", "-12.25", "+5", "2e+3", "1"),
        ("", "", "", "12   ", "", ""),
        ("1", "12-34", "-.5", "****", "0", "2"),
    ]
    loaded = platform.load(
        platform.profile(*_shapefile(tmp_path, deleted=set(), columns=columns, rows=rows))
    )
    table = platform.table(loaded)
    places = [shapely.from_wkb(wkb).bounds[0] for wkb in table.column("geometry").to_pylist()]
    table = table.take(sorted(range(4), key=places.__getitem__))
    assert {name: table.column(name).to_pylist() for name in columns} == {
        "a": ["-", "007", None, "1"],
        "b": ["12 750", "3", None, "12-34"],
        "c": ["1.5-", "-12.25", None, "-.5"],
        "d": [-7, 5, 12, None],
        "e": [-1.5e-05, 2000.0, None, 0.0],
        "f": ["-", "1", None, "2"],
    }


def test_decimals_that_a_double_rounds_are_named(platform: Platform, tmp_path: Path) -> None:
    columns = {"lost": "N(20,5)", "kept": "N(24,15)", "few": "N(20,5)", "long": "N(22,2)"}
    double = 123456.789
    rows = [
        ("12345678901234.56789", f"{double:.15f}", "0.5", "7"),
        ("1", f"{1 / 3:.15f}", "-12345678901.25000", "1234567890123456789.25"),
        ("", "", "", ""),
        ("2.5", "1", "-1", "8"),
    ]
    loaded = platform.load(
        platform.profile(*_shapefile(tmp_path, deleted=set(), columns=columns, rows=rows))
    )
    assert {finding.code: finding.message for finding in loaded.warnings} == {
        "DIGITS_ROUNDED": "Rounded to about 16 digits, as float64 holds them: 'lost'.",
        "NUMBERS_AS_TEXT": "Published as text, because a number would lose digits: 'long'.",
    }
    table = platform.table(loaded)
    assert double in table["kept"].to_pylist()
    assert float("12345678901234.56789") in table["lost"].to_pylist()
    assert "1234567890123456789.25" in table["long"].to_pylist()


def test_deleted_and_missing_records(platform: Platform, tmp_path: Path) -> None:
    with pytest.raises(errors.NoFeatures):
        platform.profile(*_shapefile(tmp_path, deleted={0, 1, 2, 3}))
    parts = _shapefile(tmp_path, deleted=set())
    table = next(part for part in parts if part.suffix == ".dbf")
    table.write_bytes(table.read_bytes()[:-100])
    with pytest.raises(errors.SourceTruncated, match="declares 4 records, but has 2"):
        platform.profile(*parts)


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        ("65001", "utf-8"),
        ("UTF-8", "utf-8"),
        ("1252", "cp1252"),
        ("ANSI 1252", "cp1252"),
        ("OEM 850", "cp850"),
        ("28605", "iso8859-15"),
        ("ISO8859_15", "iso8859-15"),
    ],
)
def test_encodings_by_any_name(
    platform: Platform, tmp_path: Path, declared: str, codec: str
) -> None:
    frame = geopandas.GeoDataFrame({"name": ["Grüße", "ñ"]}, geometry=_POINTS[:2], crs="EPSG:4326")
    frame.to_file(tmp_path / "a.shp", encoding=codec)
    (tmp_path / "a.cpg").write_text(declared)
    loaded = platform.load(platform.profile(_zipped(sorted(tmp_path.glob("a.*")))))
    assert sorted(platform.table(loaded).column("name").to_pylist()) == ["Grüße", "ñ"]
    assert loaded.warnings == ()


def test_days_that_do_not_exist_are_text(platform: Platform, tmp_path: Path) -> None:
    columns = {"ok": "D(8,0)", "bad": "D(8,0)", "flag": "L(1,0)", "odd": "L(1,0)"}
    rows = [
        ("20160229", "20150229", "T", "1"),
        ("00000000", "18112016", "?", "0"),
        ("", "20160131", "n", ""),
        ("19991231", "", "Y", "T"),
    ]
    parts = _shapefile(tmp_path, deleted=set(), columns=columns, rows=rows)
    profiled = platform.profile(*parts)
    assert [field.type.value for field in profiled.fields] == [
        "date",
        "string",
        "boolean",
        "string",
    ]
    loaded = platform.load(profiled)
    assert [(finding.code, finding.message) for finding in loaded.warnings] == [
        (
            "VALUES_LOOSE",
            "Values are no dates or truth values; published as text, no value is changed: 'bad', "
            "'odd'.",
        )
    ]
    table = platform.table(loaded)
    found = dict(zip(table["bad"].to_pylist(), table["odd"].to_pylist(), strict=True))
    assert found == {"20150229": "1", "18112016": "0", "20160131": None, None: "T"}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("spelling", ["A.{}", "a.{}"])
def test_parts_in_other_letters(
    platform: Platform, tmp_path: Path, packed: bool, spelling: str
) -> None:
    parts = []
    for part in _shapefile(tmp_path, deleted=set()):
        is_main = part.suffix == ".shp"
        suffix = part.suffix[1:] if spelling == "A.{}" else part.suffix[1:].title()
        parts.append(part.rename(tmp_path / ("A.SHP" if is_main else spelling.format(suffix))))
    loaded = platform.load(platform.profile(*([_zipped(parts)] if packed else parts)))
    assert loaded.read == 4
    assert {field.published for field in loaded.fields} == set(_COLUMNS)
    assert loaded.srid == 4326


_POINTS = [shapely.Point(x, 50) for x in range(4)]


def _others(folder: Path) -> list[Path]:
    return [path for path in folder.glob("a.*") if path.suffix not in (".shp", ".shx")]


def _shapefile(
    folder: Path,
    *,
    deleted: set[int],
    columns: Mapping[str, str] = _COLUMNS,
    rows: Sequence[tuple[str, ...]] = _ROWS,
) -> list[Path]:
    """Write points with these attributes as they are, and return the parts."""
    geopandas.GeoDataFrame({"x": [0] * 4}, geometry=_POINTS, crs="EPSG:4326").to_file(
        folder / "a.shp"
    )
    widths = [int(kind[2:].split(",")[0]) for kind in columns.values()]
    descriptors = b"".join(
        name.encode().ljust(11, b"\0")
        + kind[0].encode()
        + bytes(4)
        + bytes([width, int(kind[:-1].split(",")[1])])
        + bytes(14)
        for (name, kind), width in zip(columns.items(), widths, strict=True)
    )
    header_bytes, record_bytes = 32 + len(descriptors) + 1, 1 + sum(widths)
    header = b"\x03\x7a\x01\x01" + len(rows).to_bytes(4, "little")
    header += header_bytes.to_bytes(2, "little") + record_bytes.to_bytes(2, "little") + bytes(20)
    records = b"".join(
        (b"*" if number in deleted else b" ")
        + b"".join(v.encode().rjust(width) for v, width in zip(row, widths, strict=True))
        for number, row in enumerate(rows)
    )
    (folder / "a.dbf").write_bytes(header + descriptors + b"\r" + records + b"\x1a")
    return [folder / f"a.{suffix}" for suffix in ("shp", "shx", "dbf", "prj", "cpg")]


def _zipped(parts: list[Path]) -> Path:
    path = parts[0].with_name("packed.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in parts:
            archive.write(part, part.name)
    return path
