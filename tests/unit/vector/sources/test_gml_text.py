"""GML: the CRS of every geometry, the order of axes, and linked parts of geometries."""

import zipfile
from pathlib import Path

import pytest
import shapely

from geo_platform import errors
from tests.unit.vector.harness import Platform

_NAMESPACES = (
    'xmlns:gml="http://www.opengis.net/gml/3.2" xmlns:wfs="http://www.opengis.net/wfs/2.0" '
    'xmlns:t="http://example.org/t" xmlns:xlink="http://www.w3.org/1999/xlink"'
)
UTM, OTHER = "EPSG:25832", "urn:ogc:def:crs:EPSG::25833"
ENVELOPE = (
    '<gml:boundedBy><gml:Envelope srsName="{}"><gml:lowerCorner>50 7</gml:lowerCorner>'
    "<gml:upperCorner>51 8</gml:upperCorner></gml:Envelope></gml:boundedBy>"
)


def write(folder: Path, *members: str, head: str = "") -> Path:
    path = folder / "a.gml"
    body = "".join(f"<wfs:member>{member}</wfs:member>" for member in members)
    path.write_text(
        f'<?xml version="1.0" encoding="utf-8"?><wfs:FeatureCollection {_NAMESPACES}>{head}{body}'
        "</wfs:FeatureCollection>"
    )
    return path


def feature(geometry: str, name: str = "B") -> str:
    return f'<t:{name} gml:id="f{abs(hash(geometry))}"><t:g>{geometry}</t:g></t:{name}>'


def point(srs: str | None, position: str = "500000 5500000") -> str:
    stated = f' srsName="{srs}"' if srs else ""
    return f'<gml:Point gml:id="p"{stated}><gml:pos>{position}</gml:pos></gml:Point>'


def multi(srs: str | None, *points: str) -> str:
    stated = f' srsName="{srs}"' if srs else ""
    members = "".join(f"<gml:pointMember>{each}</gml:pointMember>" for each in points)
    return f'<gml:MultiPoint gml:id="m"{stated}>{members}</gml:MultiPoint>'


def square(name: str, x: int) -> str:
    corners = [(x, 0), (x + 1, 0), (x + 1, 1), (x, 1), (x, 0)]
    ring = " ".join(f"{500_000 + east} {5_500_000 + north}" for east, north in corners)
    return (
        f'<gml:Polygon gml:id="{name}"><gml:exterior><gml:LinearRing><gml:posList>{ring}'
        "</gml:posList></gml:LinearRing></gml:exterior></gml:Polygon>"
    )


def surfaces(*members: str) -> str:
    return f'<gml:MultiSurface gml:id="m" srsName="{UTM}">{"".join(members)}</gml:MultiSurface>'


@pytest.mark.parametrize(
    "members",
    [
        (feature(point(UTM)), feature(point(OTHER))),
        (*[feature(point(UTM))] * 3000, feature(point(OTHER))),
        (feature(multi(UTM, point(None), point(OTHER))),),
        (feature(multi(None, point(UTM), point(OTHER))),),
        (feature(point(None)), feature(point(UTM))),
    ],
    ids=["features", "late", "part", "parts", "collection"],
)
def test_two_crs_are_refused_wherever_the_second_stands(
    platform: Platform, tmp_path: Path, members: tuple[str, ...]
) -> None:
    path = write(tmp_path, *members, head=ENVELOPE.format(OTHER))
    with pytest.raises(errors.CrsMismatch, match=r"EPSG:25832.*EPSG:25833"):
        platform.profile(path, input_crs=UTM)
    profiled = platform.profile(path, input_crs=UTM, override_crs=True)
    assert [warning.code for warning in profiled.warnings] == ["CRS_OVERRIDDEN"]


def test_each_layer_has_its_own_crs(platform: Platform, tmp_path: Path) -> None:
    path = write(tmp_path, feature(point(UTM)), feature(point(OTHER), "C"))
    assert platform.profile(path, layer_name="B").crs.authority_code == "EPSG:25832"
    assert platform.profile(path, layer_name="C").crs.authority_code == "EPSG:25833"


def test_the_geometries_count_not_the_envelope(platform: Platform, tmp_path: Path) -> None:
    path = write(tmp_path, feature(point(UTM)), head=ENVELOPE.format("urn:ogc:def:crs:EPSG::4326"))
    loaded = platform.load(platform.profile(path))
    assert loaded.crs.authority_code == "EPSG:25832"
    assert loaded.bounds.xyxy == (500000, 5500000, 500000, 5500000)


def test_geometries_without_crs_need_the_user(platform: Platform, tmp_path: Path) -> None:
    path = write(tmp_path, feature(point(UTM)), feature(point(None)))
    with pytest.raises(errors.CrsMissing):
        platform.profile(path)
    assert platform.profile(path, input_crs=UTM).crs.authority_code == "EPSG:25832"


@pytest.mark.parametrize(
    ("spelling", "position"),
    [
        ("EPSG:4326", "7 50"),
        ("http://www.opengis.net/gml/srs/epsg.xml#4326", "7 50"),
        ("urn:ogc:def:crs:EPSG::4326", "50 7"),
        ("urn:x-ogc:def:crs:EPSG:4326", "50 7"),
        ("http://www.opengis.net/def/crs/EPSG/0/4326", "50 7"),
        ("urn:ogc:def:crs:OGC:1.3:CRS84", "7 50"),
    ],
)
def test_spellings_of_a_crs_and_their_order_of_axes(
    platform: Platform, tmp_path: Path, spelling: str, position: str
) -> None:
    path = write(
        tmp_path,
        feature(point(spelling, position)),
        feature(point("urn:ogc:def:crs:EPSG::4326", "50 7")),
    )
    loaded = platform.load(platform.profile(path))
    assert loaded.crs.authority_code in ("EPSG:4326", "OGC:CRS84")
    assert loaded.bounds.xyxy == (7, 50, 7, 50)


@pytest.mark.parametrize("text", ["+init=/etc/hostname:x", "+proj=longlat +nadgrids=/dev/zero"])
def test_a_crs_is_never_opened(platform: Platform, tmp_path: Path, text: str) -> None:
    path = write(tmp_path, feature(point(text)))
    with pytest.raises(errors.UnsupportedFormat, match="names a file"):
        platform.profile(path, input_crs=UTM)


@pytest.mark.parametrize("packed", [False, True])
def test_linked_parts_are_put_in_place(platform: Platform, tmp_path: Path, packed: bool) -> None:
    own, second = square("s1", 0), square("s2", 10)
    path = write(
        tmp_path,
        feature(surfaces(f"<gml:surfaceMember>{own}</gml:surfaceMember>")),
        feature(
            surfaces(
                f"<gml:surfaceMember>{second}</gml:surfaceMember>",
                '<gml:surfaceMember xlink:href="#s1"/>',
                '<gml:surfaceMember xlink:href="#s3"></gml:surfaceMember>',
            )
        ),
        '<t:B gml:id="x"><t:other xlink:href="#y"/><t:g xlink:href="#s3"/></t:B>',
        feature(square("s3", 20).replace("<gml:Polygon", f'<gml:Polygon srsName="{UTM}"')),
    )
    if packed:
        archive = tmp_path / "a.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
            opened.write(path, "folder/a.gml")
        path = archive
    profiled = platform.profile(path)
    assert profiled.warnings == ()
    loaded = platform.load(profiled)
    assert (loaded.read, loaded.inserted) == (4, 4)
    areas = [shapely.area(geometry) for geometry in platform.frame(loaded).geometry]
    assert sorted(areas) == [1, 1, 1, 3]


def test_links_to_nothing_are_said(platform: Platform, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        feature(
            surfaces(
                f"<gml:surfaceMember>{square('s2', 10)}</gml:surfaceMember>",
                '<gml:surfaceMember xlink:href="#nowhere"/>',
                '<gml:surfaceMember xlink:href="http://127.0.0.1:9/a.gml#s1"/>',
            )
        ),
    )
    codes = {warning.code: warning.message for warning in platform.profile(path).warnings}
    assert codes["GEOMETRY_LINKS_LEFT"].startswith("2 links")


def test_links_in_a_circle_end(platform: Platform, tmp_path: Path) -> None:
    loop = (
        '<gml:MultiSurface gml:id="m1"><gml:surfaceMember xlink:href="#m1"/>'
        f"<gml:surfaceMember>{square('s', 0)}</gml:surfaceMember></gml:MultiSurface>"
    )
    path = write(tmp_path, feature(loop.replace('gml:id="m1"', f'gml:id="m1" srsName="{UTM}"')))
    codes = [warning.code for warning in platform.profile(path).warnings]
    assert "GEOMETRY_LINKS_LEFT" in codes


@pytest.mark.parametrize("name", ["geometry", "g"])
@pytest.mark.parametrize(
    ("srs", "position"),
    [
        ("urn:ogc:def:crs:EPSG::25832", "500000 5500000 5"),
        ("urn:ogc:def:crs,crs:EPSG::25832,crs:EPSG::5783", "500000 5500000 5"),
        ("urn:ogc:def:crs:EPSG::4979", "50 9 5"),
    ],
)
def test_heights(platform: Platform, tmp_path: Path, name: str, srs: str, position: str) -> None:
    geometry = point(srs, position).replace("<gml:pos>", '<gml:pos srsDimension="3">')
    path = write(tmp_path, feature(geometry).replace("t:g>", f"t:{name}>"))
    profiled = platform.profile(path)
    assert profiled.warnings == ()
    loaded = platform.load(profiled, dimension="keep")
    (shape,) = platform.frame(loaded).geometry
    assert shapely.get_coordinates(shape, include_z=True)[0][2] == 5
    assert shape.bounds[:2] == ((500000, 5500000) if "25832" in srs else (9, 50))


def test_an_unknown_crs_is_named(platform: Platform, tmp_path: Path) -> None:
    path = write(tmp_path, feature(point("my local grid")))
    with pytest.raises(errors.CrsMissing, match="my local grid"):
        platform.profile(path)
    assert platform.profile(path, input_crs=UTM).crs.authority_code == "EPSG:25832"


def test_attributes_are_fields_and_other_geometries_are_named(
    platform: Platform, tmp_path: Path
) -> None:
    first, second = point(UTM, "400000 5500000"), point(UTM)
    path = write(
        tmp_path,
        '<t:B gml:id="x"><t:use xlink:href="http://example.org/code/1"/><t:size uom="m">5</t:size>'
        f"<t:outline>{first}</t:outline><t:centre>{second}</t:centre></t:B>",
    )
    profiled = platform.profile(path)
    (warning,) = profiled.warnings
    assert warning.code == "GEOMETRY_COLUMNS_LEFT"
    assert "outline, centre" in warning.message
    loaded = platform.load(profiled)
    (row,) = platform.table(loaded).to_pylist()
    assert (row["use_href"], row["size"], row["size_uom"]) == ("http://example.org/code/1", 5, "m")
    assert loaded.bounds.xyxy == (500000, 5500000, 500000, 5500000)


def test_members_of_other_schemas_count(platform: Platform, tmp_path: Path) -> None:
    path = write(tmp_path, feature(point(UTM)), feature(point(OTHER)))
    path.write_text(path.read_text().replace("wfs:member", "t:cityObjectMember"))
    with pytest.raises(errors.CrsMismatch):
        platform.profile(path, input_crs=UTM)
