"""KML: all data of placemarks becomes fields, whichever way the file states it."""

import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.unit.vector.harness import Platform

_KML = '<?xml version="1.0" encoding="{}"?><kml xmlns="http://www.opengis.net/kml/2.2">{}</kml>'
TRACK = (
    '<gx:Track xmlns:gx="http://www.google.com/kml/ext/2.2"><gx:coord>7 50 1</gx:coord>'
    '<gx:coord>8 50 1</gx:coord><ExtendedData><SchemaData schemaUrl="#t">'
    '<gx:SimpleArrayData name="hr"><gx:value>80</gx:value></gx:SimpleArrayData></SchemaData>'
    "</ExtendedData></gx:Track>"
)
POINT = "<Point><coordinates>7,50</coordinates></Point>"
DOCUMENT = "<Document>{}</Document>"


def data(name: str, value: str) -> str:
    return f'<Data name="{name}"><value>{value}</value></Data>'


def schema_data(url: str, **values: str) -> str:
    simple = "".join(f'<SimpleData name="{k}">{v}</SimpleData>' for k, v in values.items())
    return f'<SchemaData schemaUrl="#{url}">{simple}</SchemaData>'


def schema(name: str, **fields: str) -> str:
    simple = "".join(f'<SimpleField type="{v}" name="{k}"/>' for k, v in fields.items())
    return f'<Schema id="{name}" name="{name}">{simple}</Schema>'


def placemark(name: str, extended: str, more: str = "") -> str:
    extended = f"<ExtendedData>{extended}</ExtendedData>" if extended else ""
    return f"<Placemark><name>{name}</name>{more}{extended}{POINT}</Placemark>"


def rows_of(
    platform: Platform, folder: Path, *elements: str, root: str = DOCUMENT, encoding: str = "UTF-8"
) -> dict[str, dict[str, Any]]:
    path = folder / "a.kml"
    path.write_text(_KML.format(encoding, root.format("".join(elements))), encoding)
    profiled = platform.profile(path)
    assert profiled.warnings == ()
    table = platform.table(platform.load(profiled)).drop_columns(["geometry", "bbox"])
    return {
        row["name"]: {key: value for key, value in row.items() if value not in (None, -1, 0)}
        for row in table.to_pylist()
    }


@pytest.mark.parametrize("root", [DOCUMENT, "{}", "<Folder>{}</Folder>"])
def test_data_beside_schema_data(platform: Platform, tmp_path: Path, root: str) -> None:
    rows = rows_of(
        platform,
        tmp_path,
        schema("A", fa="int", fb="string") if root == DOCUMENT else "",
        placemark("a", data("free", "0042") + schema_data("A", fa="7", fb="x")),
        placemark("b", data("free", "17") + data("fb", "joined") + data("other", "é &amp; &lt;")),
        placemark("c", ""),
        root=root,
    )
    number = 7 if root == DOCUMENT else "7"
    assert rows["a"] == {"name": "a", "fa": number, "fb": "x", "free": "0042"}
    assert rows["b"] == {"name": "b", "free": "17", "fb": "joined", "other": "é & <"}
    assert rows["c"] == {"name": "c"}


def test_data_never_replaces_an_element_or_other_data(platform: Platform, tmp_path: Path) -> None:
    rows = rows_of(
        platform,
        tmp_path,
        placemark(
            "a",
            '<Data name="y"/>' + data("name", "Other") + data("description", "D") + data("x", "1"),
        ),
        placemark("b", data("X", "2") + data("x", "3") + data("x", "4"), "<address>Road</address>"),
        placemark("c", "", "<phoneNumber>5</phoneNumber><description>own</description>"),
        placemark("d", '<c:k xmlns:c="urn:c">6</c:k>'),
        placemark("e", "", "<address>Lane</address><ExtendedData/>"),
    )
    assert sorted(rows["a"].values()) == ["1", "D", "Other", "a"]
    assert sorted(rows["b"].values()) == ["2", "3", "4", "Road", "b"]
    assert rows["b"]["address"] == "Road"
    assert sorted(rows["c"].values()) == ["5", "c", "own"]
    assert rows["d"] == {"name": "d", "k": "6"}
    assert rows["e"] == {"name": "e", "address": "Lane"}


def test_schema_data_keeps_its_types(platform: Platform, tmp_path: Path) -> None:
    rows = rows_of(
        platform,
        tmp_path,
        placemark("a", schema_data("A", n="1", twice="s") + data("n", "007") + data("twice", "d")),
        schema("A", n="int", twice="string"),
    )
    assert rows["a"] == {"name": "a", "n": 1, "n_2": "007", "twice": "s", "twice_2": "d"}


def test_layers_get_their_own_fields_and_texts_any_encoding(
    platform: Platform, tmp_path: Path
) -> None:
    path = tmp_path / "a.kml"
    folders = "".join(
        f"<Folder><name>{name}</name>{placemark('p', data(name, 'ü') + data('name', '1'))}</Folder>"
        for name in ("F", "G")
    )
    path.write_text(_KML.format("ISO-8859-1", DOCUMENT.format(folders)), "latin-1")
    archive = tmp_path / "b.kmz"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.write(path, "doc.kml")
    wide = tmp_path / "c.kml"
    wide.write_text(_KML.format("UTF-16", DOCUMENT.format(folders)), "utf-16")
    for source in (path, archive, wide):
        profiled = platform.profile(source, layer_name="G")
        names = [field.name for field in profiled.fields]
        assert "G" in names
        assert "F" not in names
        (row,) = platform.table(platform.load(profiled)).to_pylist()
        assert (row["g"], row["name"]) == ("ü", "p")


def test_what_is_no_feature_is_named(platform: Platform, tmp_path: Path) -> None:
    path = tmp_path / "a.kml"
    link = "<NetworkLink><Link><href>b.kml</href></Link></NetworkLink>"
    track = f"<Placemark><name>t</name>{TRACK}</Placemark>"
    path.write_text(_KML.format("UTF-8", DOCUMENT.format(placemark("a", "") + link + link + track)))
    (warning,) = platform.profile(path).warnings
    assert warning.code == "KML_ELEMENTS_LEFT"
    assert "2 NetworkLink, 1 SimpleArrayData" in warning.message


def test_values_that_are_not_as_their_field_declares(platform: Platform, tmp_path: Path) -> None:
    """GDAL makes 0 of an empty number and of text, and rounds or limits large ones."""
    kinds = {"i": "int", "u": "uint", "d": "double", "b": "bool", "ok": "int", "r": "float"}
    values = [
        {"i": "-", "u": "4000000000", "d": "12,5", "b": "true", "ok": "007", "r": "1e3"},
        {"i": "7", "u": "", "d": "1.5", "b": "n/a", "ok": "-5", "r": "0.25"},
        {"i": "", "u": "5", "d": "9007199254740993", "b": "0", "ok": "0", "r": ""},
    ]
    rows = "".join(placemark(str(n), schema_data("s", **row)) for n, row in enumerate(values))
    path = tmp_path / "a.kml"
    path.write_text(_KML.format("UTF-8", DOCUMENT.format(schema("s", **kinds) + rows)))
    profiled = platform.profile(path)
    table = platform.table(platform.load(profiled)).sort_by("name")
    assert {name: table[name].to_pylist() for name in kinds} == {
        "i": ["-", "7", ""],
        "u": [4_000_000_000, None, 5],
        "d": ["12,5", "1.5", "9007199254740993"],
        "b": ["true", "n/a", "0"],
        "ok": [7, -5, 0],
        "r": [1000.0, 0.25, None],
    }
    codes = sorted((each.code, each.message.split("'")[1]) for each in profiled.warnings)
    assert codes == [
        *(("VALUES_BLANK", name) for name in ("r", "u")),
        *(("VALUES_LOOSE", name) for name in ("b", "d", "i")),
    ]


def test_sound_values_of_typed_fields_are_read_in_place(platform: Platform, tmp_path: Path) -> None:
    rows = placemark("a", schema_data("s", i="7", d="-1.5e-3", b="true"))
    fields = schema("s", i="int", d="double", b="bool")
    path = tmp_path / "a.kml"
    path.write_text(_KML.format("UTF-8", DOCUMENT.format(fields + rows)))
    profiled = platform.profile(path)
    assert not profiled.reads_copy
    assert platform.table(platform.load(profiled))["d"].to_pylist() == [-0.0015]


def test_times_without_a_day_are_said(platform: Platform, tmp_path: Path) -> None:
    times = ["1997", "1997-07", "1997-07-16"]
    rows = "".join(
        placemark(each, "", f"<TimeStamp><when>{each}</when></TimeStamp>") for each in times
    )
    path = tmp_path / "a.kml"
    path.write_text(_KML.format("UTF-8", DOCUMENT.format(rows)))
    profiled = platform.profile(path)
    (warning,) = profiled.warnings
    assert warning.code == "TIMES_INCOMPLETE"
    assert "1 are a year" in warning.message
    assert "1 are a month" in warning.message
    table = platform.table(platform.load(profiled)).sort_by("name")
    assert table["timestamp"].cast("string").to_pylist() == [
        None,
        "1997-07-01 00:00:00.000000",
        "1997-07-16 00:00:00.000000",
    ]
