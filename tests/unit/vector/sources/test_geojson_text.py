"""GeoJSON: the CRS of every feature, foreign members and U+0000, which GDAL ignores or cuts."""

import json
from pathlib import Path
from typing import Any

import pytest

from geo_platform import errors
from geo_platform.contracts.arrival import SourceFormat
from geo_platform.source.openable import OpenableSource
from geo_platform.vector.sources import geojson_text
from tests.unit.vector.harness import Platform

UTM = {"type": "Point", "coordinates": [500000, 5500000]}


def crs(name: str) -> dict[str, Any]:
    return {"type": "name", "properties": {"name": name}}


def feature(n: int, geometry: dict[str, Any] = UTM, **members: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": {"n": n}, "geometry": geometry, **members}


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(*features: dict[str, Any], **members: Any) -> Path:
        path = tmp_path / "a.geojson"
        document = {"type": "FeatureCollection", **members, "features": list(features)}
        path.write_text(json.dumps(document))
        return path

    return write


@pytest.mark.parametrize(
    "stated",
    [
        crs("EPSG:25832"),
        crs("urn:ogc:def:crs:EPSG::25832"),
        crs("http://www.opengis.net/def/crs/EPSG/0/25832"),
        {"type": "EPSG", "properties": {"code": 25832}},
        {"type": "OGC", "properties": {"urn": "urn:ogc:def:crs:EPSG::25832"}},
        "EPSG:25832",
    ],
)
@pytest.mark.parametrize("place", ["collection", "feature", "geometry", "lines", "single"])
def test_the_crs_is_read_wherever_it_stands(
    platform: Platform, tmp_path: Path, written: Any, stated: Any, place: str
) -> None:
    in_feature = feature(1, crs=stated)
    if place == "collection":
        path = written(feature(1), crs=stated)
    elif place == "feature":
        path = written(in_feature)
    elif place == "geometry":
        path = written(feature(1, {**UTM, "crs": stated}))
    else:
        path = tmp_path / "a.geojson"
        path.write_text("\n".join([json.dumps(in_feature)] * (2 if place == "lines" else 1)))
    profiled = platform.profile(path)
    assert (profiled.crs.authority_code, profiled.crs.came_from) == ("EPSG:25832", "file")
    assert profiled.warnings == ()


@pytest.mark.parametrize("before", [1, 2_000])
@pytest.mark.parametrize("place", ["feature", "geometry", "collection"])
def test_two_crs_are_refused_wherever_the_second_stands(
    platform: Platform, written: Any, before: int, place: str
) -> None:
    first, second = crs("EPSG:25832"), crs("EPSG:25833")
    features = [feature(n, crs=first) for n in range(before)]
    if place == "feature":
        path = written(*features, feature(-1, crs=second))
    elif place == "geometry":
        parts = {"type": "GeometryCollection", "geometries": [UTM, {**UTM, "crs": second}]}
        path = written(*features, feature(-1, parts))
    else:
        path = written(*features, feature(-1), crs=second)
    with pytest.raises(errors.CrsMismatch, match=r"25832.*25833") as refused:
        platform.profile(path, input_crs="EPSG:25832")
    assert "override_crs" in refused.value.remedy
    profiled = platform.profile(path, input_crs="EPSG:25832", override_crs=True)
    assert profiled.crs.authority_code == "EPSG:25832"
    assert [warning.code for warning in profiled.warnings] == ["CRS_OVERRIDDEN"]


def test_two_spellings_of_a_crs_are_one(platform: Platform, written: Any) -> None:
    path = written(
        feature(1, crs=crs("EPSG:25832")), feature(2, crs=crs("urn:ogc:def:crs:EPSG::25832"))
    )
    assert platform.profile(path).crs.authority_code == "EPSG:25832"


@pytest.mark.parametrize("stated", [crs("my local grid"), None, crs("EPSG:999999"), {"type": "x"}])
def test_an_unknown_crs_is_never_wgs84(platform: Platform, written: Any, stated: Any) -> None:
    path = written(feature(1), crs=stated)
    with pytest.raises(errors.CrsMissing):
        platform.profile(path)
    profiled = platform.profile(path, input_crs="EPSG:25832")
    assert profiled.crs.authority_code == "EPSG:25832"
    assert [w.code for w in profiled.warnings if w.code != "GDAL_WARNING"] == ["CRS_UNKNOWN"]


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ({"type": "link", "properties": {"href": "http://127.0.0.1:9/"}}, "link"),
        (crs("+init=/dev/zero:x"), "file"),
        (crs("+proj=longlat +nadgrids=/dev/zero +type=crs"), "file"),
    ],
)
@pytest.mark.parametrize("key", ["crs", "c\\u0072s"])
def test_a_crs_is_never_followed(
    platform: Platform, written: Any, stated: Any, reason: str, key: str
) -> None:
    features = [feature(n) for n in range(2_000)]
    path = written(*features, feature(-1, crs=stated), *features)
    path.write_text(path.read_text().replace('"crs"', f'"{key}"'))
    with pytest.raises(errors.UnsupportedFormat, match=reason):
        platform.profile(path, input_crs="EPSG:25832")


def test_foreign_members_of_features_are_fields(platform: Platform, written: Any) -> None:
    path = written(
        feature(1, updated="a", stats={"k": 1}),
        feature(2, updated=None),
        feature(3, late=[1, 2]),
        crs=crs("EPSG:25832"),
    )
    profiled = platform.profile(path)
    assert profiled.warnings == ()
    rows = {row["n"]: row for row in platform.table(platform.load(profiled)).to_pylist()}
    assert [rows[n]["updated"] for n in (1, 2, 3)] == ["a", None, None]
    assert json.loads(rows[1]["stats"]) == {"k": 1}
    assert json.loads(rows[3]["late"]) == [1, 2]


def test_foreign_members_that_cannot_be_kept_are_named(
    platform: Platform, tmp_path: Path, written: Any
) -> None:
    same_name = written(
        {**feature(1, other=1), "n": 7},
        feature(2, {**UTM, "measure": 3}),
        crs=crs("EPSG:25832"),
        title="t",
    )
    profiled = platform.profile(same_name)
    (warning,) = profiled.warnings
    assert warning.code == "FOREIGN_MEMBERS_LEFT"
    for name in ("n (1)", "other (1)", "measure of a geometry (1)", "title of the collection (1)"):
        assert name in warning.message
    rows = platform.table(platform.load(profiled)).to_pylist()
    assert sorted(row["n"] for row in rows) == [1, 2]
    lines = tmp_path / "b.geojson"
    lines.write_text("\n".join(json.dumps(feature(n, crs=crs("EPSG:25832"), x=1)) for n in (1, 2)))
    (warning,) = platform.profile(lines).warnings
    assert "x (2)" in warning.message


def test_text_with_nul_is_said(platform: Platform, written: Any) -> None:
    wgs84 = {"type": "Point", "coordinates": [0, 50]}
    path = written(
        {**feature(1, wgs84), "properties": {"v": "before\0after", "w": "\\u0000 and \\"}},
        {**feature(1, wgs84), "properties": {"v": "\\\0", "w": "x"}},
    )
    profiled = platform.profile(path)
    (warning,) = profiled.warnings
    assert warning.code == "TEXT_CUT"
    assert "U+0000: 2." in warning.message
    rows = platform.table(platform.load(profiled)).to_pylist()
    assert {row["w"] for row in rows} == {"\\u0000 and \\", "x"}


def test_a_property_may_have_the_name_of_the_geometry_column(
    platform: Platform, written: Any
) -> None:
    wgs84 = {"type": "Point", "coordinates": [0, 50]}
    path = written({**feature(1, wgs84), "properties": {"wkb_geometry": "x", "geometry": "y"}})
    loaded = platform.load(platform.profile(path))
    (row,) = platform.frame(loaded).to_dict("records")
    assert row["wkb_geometry"] == "x"
    assert "y" in row.values()
    assert row["geometry"].bounds == (0, 50, 0, 50)


@pytest.mark.parametrize("window", [64, 1000])
def test_features_across_windows_are_counted_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, window: int
) -> None:
    monkeypatch.setattr(geojson_text, "_CHUNK_BYTES", window)
    path = tmp_path / "a.geojson"
    features = [
        {**feature(n), "properties": {"t": 'ä"}]\\' * (n % 5), "nul": "\0" * (n % 3)}}
        for n in range(100)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, "end": 1.5}))
    facts = geojson_text.scan_geojson(OpenableSource(str(path), SourceFormat.geojson, "a"))
    assert facts.crs == {None: 100}
    assert facts.nul_texts == sum(n % 3 for n in range(100))
    assert facts.foreign_elsewhere == {"end of the collection": 1}


def test_members_of_stac_items_are_fields(platform: Platform, written: Any) -> None:
    wgs84 = {"type": "Point", "coordinates": [0, 50]}
    item = {"stac_version": "1.0.0", "assets": {"d": {"href": "x.tif"}}, "collection": "c"}
    profiled = platform.profile(written(feature(1, wgs84, **item)))
    assert profiled.warnings == ()
    (row,) = platform.table(platform.load(profiled)).to_pylist()
    assert (row["stac_version"], row["collection"]) == ("1.0.0", "c")
    assert json.loads(row["assets"]) == item["assets"]


def test_text_that_is_not_utf_8_has_a_remedy_that_works(platform: Platform, written: Any) -> None:
    path = written({**feature(1), "properties": {"v": "X"}}, crs=crs("EPSG:25832"))
    text = path.read_text().replace('"X"', '"é"')
    path.write_text(text, "latin-1")
    with pytest.raises(errors.FieldEncoding) as refused:
        platform.load(platform.profile(path))
    assert "UTF-8" in refused.value.remedy
    path.write_text(text, "utf-8")
    assert platform.table(platform.load(platform.profile(path)))["v"].to_pylist() == ["é"]
