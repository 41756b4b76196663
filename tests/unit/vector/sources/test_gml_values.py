"""GML: the types of fields are found in their values, and no value changes."""

import zipfile
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pytest
from defusedxml.ElementTree import fromstring

from tests.unit.vector.harness import Platform

_HEAD = (
    '<?xml version="1.0" encoding="utf-8"?><wfs:FeatureCollection '
    'xmlns:gml="http://www.opengis.net/gml/3.2" xmlns:wfs="http://www.opengis.net/wfs/2.0" '
    'xmlns:t="http://example.org/t">'
)
_ENVELOPE = (
    '<gml:boundedBy><gml:Envelope srsName="EPSG:25832" srsDimension="2">'
    "<gml:lowerCorner>500000 5500000</gml:lowerCorner>"
    "<gml:upperCorner>500000 5500000</gml:upperCorner></gml:Envelope></gml:boundedBy>"
)
# Values that a reader of types may change, and the values that have to be published.
_COLUMNS: dict[str, tuple[list[str | None], list[Any]]] = {
    "dash": (["-", "3"], ["-", "3"]),
    "plus": (["+4", "5"], ["+4", "5"]),
    "zeros": (["7", "007"], ["7", "007"]),
    "code": (["1E5", "2"], ["1E5", "2"]),
    "huge": (["12345678901234567890", "1"], ["12345678901234567890", "1"]),
    "long": (["9007199254740993", None], [9007199254740993, None]),
    "mixed": (["9007199254740993", "0.5"], ["9007199254740993", "0.5"]),
    "real": (["1.50", "2"], [1.5, 2.0]),
    "whole": (["\n 12\n", "13"], [12, 13]),
    "no_date": (["2020-02-30", "2020-02-28"], ["2020-02-30", "2020-02-28"]),
    "day": (["2020-02-29", None], [date(2020, 2, 29), None]),
    "clock": (["12:30:00", "23:59:59.5"], [time(12, 30), time(23, 59, 59, 500_000)]),
    "instant": (
        ["2020-01-01T00:00:00.123456Z", "2020-01-01T02:00:00+02:00"],
        [datetime(2020, 1, 1, 0, 0, 0, 123_456, UTC), datetime(2020, 1, 1, tzinfo=UTC)],
    ),
    "zones": (
        ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00"],
        ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00"],
    ),
    "truth": (["true", "false"], [True, False]),
    "no_truth": (["true", "0"], ["true", "0"]),
    "lowerCorner": (["mine", "too"], ["mine", "too"]),
}


def _write(path: Path, extra: str = "") -> Path:
    members = [
        f'<wfs:member><t:B gml:id="f{row}">{_ENVELOPE}'
        + "".join(
            f"<t:{name}>{values[row]}</t:{name}>"
            for name, (values, _) in _COLUMNS.items()
            if values[row] is not None
        )
        + extra
        + '<t:g><gml:Point gml:id="p" srsName="EPSG:25832"><gml:pos>500000 5500000</gml:pos>'
        "</gml:Point></t:g></t:B></wfs:member>"
        for row in range(2)
    ]
    path.write_text(f"{_HEAD}{''.join(members)}</wfs:FeatureCollection>")
    return path


def test_no_value_changes_and_envelopes_are_no_fields(platform: Platform, tmp_path: Path) -> None:
    path = _write(
        tmp_path / "a.gml",
        "<t:codes>007</t:codes><t:codes>8</t:codes><t:counts>7</t:counts><t:counts>8</t:counts>",
    )
    profiled = platform.profile(path)
    loaded = platform.load(profiled)
    table = platform.table(loaded).sort_by("gml_id")
    names = {field.source: field.published for field in loaded.fields}
    # A property named as a corner of the envelope keeps a name that GDAL makes unique.
    corner = next(name for name in names if name.startswith("lowerCorner"))
    for name, (_, wanted) in _COLUMNS.items():
        column = names[corner if name == "lowerCorner" else name]
        assert table[column].to_pylist() == wanted, name
    assert table["codes"].to_pylist() == ['["007", "8"]'] * 2
    assert table["counts"].to_pylist() == ["[7, 8]"] * 2
    assert len(names) == len(_COLUMNS) + 3, "gml_id and two lists"
    findings = {finding.code: finding.message for finding in profiled.warnings}
    assert set(findings) == {"NUMBERS_AS_TEXT", "TIMES_MIXED"}
    for name in ("plus", "code", "huge", "mixed"):
        assert repr(name) in findings["NUMBERS_AS_TEXT"]
    assert "'zones'" in findings["TIMES_MIXED"]


@pytest.mark.parametrize("suffix", [".gfs", ".xsd"])
def test_a_schema_in_an_archive_removes_no_field(
    platform: Platform, tmp_path: Path, suffix: str
) -> None:
    path = _write(tmp_path / "a.gml")
    gfs = (
        "<GMLFeatureClassList><GMLFeatureClass><Name>B</Name><ElementPath>B</ElementPath>"
        "<GeometryName>g</GeometryName><GeometryElementPath>g</GeometryElementPath>"
        "<PropertyDefn><Name>dash</Name><ElementPath>dash</ElementPath><Type>Integer</Type>"
        "</PropertyDefn></GMLFeatureClass></GMLFeatureClassList>"
    )
    xsd = (
        '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" '
        'xmlns:gml="http://www.opengis.net/gml/3.2" xmlns:t="http://example.org/t" '
        'targetNamespace="http://example.org/t"><xs:element name="B" type="t:BType" '
        'substitutionGroup="gml:AbstractFeature"/><xs:complexType name="BType"><xs:complexContent>'
        '<xs:extension base="gml:AbstractFeatureType"><xs:sequence><xs:element name="dash" '
        'type="xs:int"/><xs:element name="g" type="gml:PointPropertyType"/></xs:sequence>'
        "</xs:extension></xs:complexContent></xs:complexType></xs:schema>"
    )
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.write(path, "folder/a.gml")
        opened.writestr(f"folder/a{suffix}", {".gfs": gfs, ".xsd": xsd}[suffix])
    loaded = platform.load(platform.profile(archive))
    assert len(loaded.fields) == len(_COLUMNS) + 1
    assert platform.table(loaded).sort_by("gml_id")["dash"].to_pylist() == ["-", "3"]
    feature = fromstring(path.read_bytes()).find(".//{http://example.org/t}B")
    assert len(feature) == len(loaded.fields) - 1 + 2, "the envelope and the geometry"
    assert sorted(each.name for each in tmp_path.iterdir() if each.suffix == ".gfs") == []
