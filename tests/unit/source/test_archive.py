"""Archives: what is refused before a member is read, and which member is the dataset."""

import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import pyogrio
import pytest
import rasterio

from geo_platform.contracts.arrival import SourceFormat, SourceKind
from geo_platform.errors import (
    ArchiveUnsafe,
    DecompressionBomb,
    LayerAmbiguous,
    LayerNotFound,
    PlatformError,
    SourceEmpty,
    SourceTruncated,
    SourceUnreadable,
    UnsupportedFormat,
)
from geo_platform.source.archive import ArchiveLimits
from geo_platform.source.driver_files import linked_source
from geo_platform.source.sniff import DetectedSource, detect
from tests.unit.source.conftest import shapefile_parts, write_raster

Zipped = Callable[..., Path]


def _detect(
    path: Path, member: str | None = None, limits: ArchiveLimits | None = None
) -> DetectedSource:
    return detect(path, name=path.name, member=member, limits=limits or ArchiveLimits())


def _member(found: DetectedSource) -> str:
    assert found.archive_member is not None
    return found.archive_member.path


def test_a_zipped_shapefile_is_its_shp(samples: Path, zipped: Zipped) -> None:
    parts = shapefile_parts(samples)
    found = _detect(
        zipped(
            {
                **{f"a b/{name}": path for name, path in parts.items()},
                "a b/readme.txt": b"hello",
                "preview.png": samples / "png.png",
            }
        )
    )
    assert (found.format, found.kind, found.media_type) == (
        SourceFormat.shapefile,
        SourceKind.vector,
        "application/zip",
    )
    assert found.archive_member is not None
    assert found.archive_member.path == "a b/shapefile.shp"
    assert found.archive_member.size_bytes == sum(parts[name].stat().st_size for name in parts)


def test_shapefiles_of_one_folder_are_layers_of_one_dataset(samples: Path, zipped: Zipped) -> None:
    parts = shapefile_parts(samples)
    members = {
        f"{folder}{stem}{path.suffix}": path
        for folder in ("in/",)
        for stem in ("roads", "rivers")
        for path in parts.values()
    }
    assert _member(_detect(zipped(members))) == "in"
    assert (
        _member(_detect(zipped({name.removeprefix("in/"): path for name, path in members.items()})))
        == ""
    )
    assert _member(_detect(zipped(members), member="in/roads.shp")) == "in/roads.shp"


def test_several_datasets_are_named_and_one_may_be_chosen(samples: Path, zipped: Zipped) -> None:
    archive = zipped({"a.tif": samples / "geotiff.tif", "b/ü.tif": samples / "geotiff.tif"})
    with pytest.raises(LayerAmbiguous, match=r"'a\.tif', 'b/ü\.tif'") as refusal:
        _detect(archive)
    assert "archive_member" in refusal.value.remedy
    assert _member(_detect(archive, member="b/ü.tif")) == "b/ü.tif"
    with pytest.raises(LayerNotFound, match=r"'c\.tif'"):
        _detect(archive, member="c.tif")


def test_pictures_and_tables_beside_a_dataset_are_none(samples: Path, zipped: Zipped) -> None:
    picture, table = samples / "png.png", samples / "csv.csv"
    assert (
        _detect(
            zipped({"a.png": picture, "t.csv": table, "x.gpkg": samples / "geopackage.gpkg"})
        ).format
        is SourceFormat.geopackage
    )
    assert _detect(zipped({"a.png": picture, "t.csv": table})).format is SourceFormat.csv
    assert (
        _detect(zipped({"a.png": picture, "a.pgw": b"1\n0\n0\n-1\n0\n0\n"})).format
        is SourceFormat.png
    )


def test_a_kmz_is_kml_with_pictures(samples: Path, zipped: Zipped) -> None:
    found = _detect(
        zipped(
            {"doc.kml": samples / "kml.kml", "files/icon.png": samples / "png.png"}, name="x.kmz"
        )
    )
    assert (found.format, found.media_type, _member(found)) == (
        SourceFormat.kml,
        "application/vnd.google-earth.kmz",
        "doc.kml",
    )


def test_the_root_document_is_chosen_among_several_kml(samples: Path, zipped: Zipped) -> None:
    archive = zipped(
        {"doc.kml": samples / "kml.kml", "more/linked.kml": samples / "kml.kml"}, name="x.kmz"
    )
    assert _member(_detect(archive)) == "doc.kml"


def test_a_kmz_as_gdal_writes_it_is_its_one_layer(samples: Path, tmp_path: Path) -> None:
    """Its doc.kml only links to layers/NAME.kml."""
    written = tmp_path / "written.kmz"
    pyogrio.write_dataframe(gpd.read_file(samples / "kml.kml"), written, driver="LIBKML")
    assert _member(_detect(written)) == "layers/written.kml"


def test_a_zipped_srtm_tile(samples: Path, zipped: Zipped) -> None:
    found = _detect(
        zipped({"N47E008.hgt": samples / "N47E008.hgt"}, name="N47E008.SRTMGL1.hgt.zip")
    )
    assert (found.format, _member(found)) == (SourceFormat.srtm_hgt, "N47E008.hgt")


def test_a_zipped_file_geodatabase_is_its_folder(samples: Path, zipped: Zipped) -> None:
    folder = samples / "file_geodatabase.gdb"
    found = _detect(zipped({f"export/x.gdb/{path.name}": path for path in folder.iterdir()}))
    assert (found.format, _member(found)) == (SourceFormat.file_geodatabase, "export/x.gdb")


def test_a_virtual_file_called_tif_stays_a_virtual_file(zipped: Zipped) -> None:
    with pytest.raises(UnsupportedFormat, match="virtual raster"):
        _detect(zipped({"image.tif": b"<VRTDataset/>"}))


def test_a_virtual_overview_beside_a_member_is_refused(samples: Path, zipped: Zipped) -> None:
    for name, content in {
        "a.tif.ovr": b"<VRTDataset/>",
        "a.tif.msk": b"x",
        "a.tif.aux.xml": b"<VRTDataset/>",
        "a.aux": b"x",
    }.items():
        with pytest.raises((UnsupportedFormat, SourceUnreadable), match=r"a\."):
            _detect(zipped({"a.tif": samples / "geotiff.tif", name: content}))
    archive = zipped(
        {
            "a.tif": samples / "geotiff.tif",
            "a.tif.msk": samples / "geotiff.tif",
            "__MACOSX/._a.tif.aux.xml": b"\0\x05",
        }
    )
    assert _member(_detect(archive)) == "a.tif"


def test_archives_without_data(zipped: Zipped) -> None:
    with pytest.raises(UnsupportedFormat, match="no dataset"):
        _detect(zipped({"readme.txt": b"hello", ".hidden.tif": b"II*\0"}))
    with pytest.raises(SourceEmpty):
        _detect(zipped({}))


@pytest.mark.parametrize(
    "name",
    [
        "../a.tif",
        "a/../../b.tif",
        "/etc/a.tif",
        "C:/a.tif",
        "a\\b.tif",
        "..\\a.tif",
        "a/./b.tif",
        "a//b.tif",
        "a\nb.tif",
        "a\x1b[0m.tif",
        "x" * 1100,
    ],
)
def test_paths_outside_the_archive(samples: Path, zipped: Zipped, name: str) -> None:
    with pytest.raises(ArchiveUnsafe) as refusal:
        _detect(zipped({name: samples / "geotiff.tif"}))
    assert "\n" not in refusal.value.message
    assert "\x1b" not in refusal.value.message


def _patched(path: Path, before: bytes, after: bytes) -> Path:
    content = path.read_bytes()
    assert before in content
    path.write_bytes(content.replace(before, after))
    return path


def test_a_nul_in_a_name(samples: Path, zipped: Zipped) -> None:
    with pytest.raises(ArchiveUnsafe, match="control character"):
        _detect(
            _patched(zipped({"a.tif#.txt": samples / "geotiff.tif"}), b"a.tif#.txt", b"a.tif\0.txt")
        )


def test_a_symbolic_link(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    link = zipfile.ZipInfo("a.tif")
    link.create_system = 3
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ArchiveUnsafe, match="link"):
        _detect(path)


@pytest.mark.parametrize(
    "nested",
    [b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c", b"\x1f\x8b\x08", b"Rar!\x1a\x07", bytes(257) + b"ustar"],
)
def test_archives_in_archives(samples: Path, zipped: Zipped, nested: bytes) -> None:
    with pytest.raises(ArchiveUnsafe, match=r"'b\.tif'"):
        _detect(zipped({"a.tif": samples / "geotiff.tif", "b.tif": nested + bytes(300)}))


def test_the_same_name_twice(samples: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a.tif", "A.TIF"):
            archive.writestr(name, (samples / "geotiff.tif").read_bytes())
    with pytest.raises(ArchiveUnsafe, match="twice"):
        _detect(path)


def test_an_encrypted_member(samples: Path, zipped: Zipped) -> None:
    path = zipped({"a.tif": samples / "geotiff.tif"})
    content = bytearray(path.read_bytes())
    content[content.rfind(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(ArchiveUnsafe, match="encrypted"):
        _detect(path)


def test_a_compression_that_gdal_cannot_read(samples: Path, zipped: Zipped) -> None:
    with pytest.raises(UnsupportedFormat, match="method 14"):
        _detect(zipped({"a.tif": samples / "geotiff.tif"}, compression=zipfile.ZIP_LZMA))


def test_members_that_overlap(samples: Path, zipped: Zipped) -> None:
    """Make the second entry of the table of contents point at the bytes of the first member."""
    path = zipped({"a.tif": samples / "geotiff.tif", "b.tif": samples / "geotiff.tif"})
    content = bytearray(path.read_bytes())
    second = content.rfind(b"PK\x01\x02")
    content[second + 42 : second + 46] = struct.pack("<I", 0)
    path.write_bytes(content)
    with pytest.raises(ArchiveUnsafe, match="overlaps"):
        _detect(path)


def test_two_archives_in_one_file(samples: Path, zipped: Zipped) -> None:
    first = zipped({"a.tif": samples / "geotiff.tif"}, name="a.zip").read_bytes()
    second = zipped({"b.csv": samples / "csv.csv"}, name="b.zip")
    second.write_bytes(first + second.read_bytes())
    with pytest.raises(ArchiveUnsafe, match="second archive"):
        _detect(second)


def test_limits_of_number_size_and_ratio(tmp_path: Path, zipped: Zipped) -> None:
    zeros = write_raster(tmp_path / "zeros.tif").read_bytes() + bytes(2_000_000)
    archive = zipped({"a.tif": zeros, "b.txt": b"x"})
    assert _member(_detect(archive)) == "a.tif"
    for limits, expected in (
        (ArchiveLimits(max_members=1), "2 members"),
        (ArchiveLimits(max_directory_bytes=50), "members"),
        (ArchiveLimits(max_total_bytes=1_000_000), "unpacks to"),
        (ArchiveLimits(max_ratio=200, ratio_from_bytes=1_000_000), r"'a\.tif'.*times its size"),
    ):
        with pytest.raises(DecompressionBomb, match=expected):
            _detect(archive, limits=limits)


def test_a_directory_that_claims_more_than_it_has(samples: Path, zipped: Zipped) -> None:
    path = zipped({"a.tif": samples / "geotiff.tif"})
    content = path.read_bytes()
    for kept in (30, len(content) // 2, len(content) - 23, len(content) - 1):
        path.write_bytes(content[:kept])
        with pytest.raises((SourceTruncated, SourceUnreadable, ArchiveUnsafe)):
            _detect(path)


def test_damaged_members_are_unreadable(samples: Path, zipped: Zipped) -> None:
    path = zipped({"a.tif": samples / "geotiff.tif"})
    content = bytearray(path.read_bytes())
    content[40:80] = b"\xff" * 40
    path.write_bytes(content)
    with pytest.raises(PlatformError):
        _detect(path)


@pytest.mark.parametrize(
    "folder",
    ["", "a {b} c/", "ümläut/", "日本/", "a'b;\"c/", "100%/", "x.zip/", "vsicurl/", "$(id)/"],
)
def test_members_of_any_name_open_in_place(
    samples: Path, zipped: Zipped, tmp_path: Path, folder: str
) -> None:
    name = f"{folder}ä {{x}}.tif"
    path = zipped({name: samples / "geotiff.tif"})
    detected = _detect(path)
    assert _member(detected) == name
    with (
        linked_source(
            path, detected, {}, name="user's {name}.zip", scratch=tmp_path / "scratch"
        ) as source,
        rasterio.open(source.gdal_path, driver="GTiff") as dataset,
    ):
        assert dataset.shape == (48, 64)
        assert "user" not in source.gdal_path


def test_names_decode_as_gdal_decodes_them(samples: Path, zipped: Zipped, tmp_path: Path) -> None:
    """Without the flag, both read code page 437; with Info-ZIP's Unicode field, both read that."""
    plain = zipped({"XX.tif": samples / "geotiff.tif"}, name="plain.zip")
    plain.write_bytes(plain.read_bytes().replace(b"XX.tif", "ä.tif".encode()))
    extra = tmp_path / "extra.zip"
    with zipfile.ZipFile(extra, "w") as archive:
        archive.writestr(
            _with_unicode_name("XX.tif", "日.tif"), (samples / "geotiff.tif").read_bytes()
        )
    for path, expected in ((plain, "├ñ.tif"), (extra, "日.tif")):
        detected = _detect(path)
        assert _member(detected) == expected
        with (
            linked_source(path, detected, {}, name="x.zip", scratch=tmp_path) as source,
            rasterio.open(source.gdal_path, driver="GTiff") as dataset,
        ):
            assert dataset.count == 1
    shapes = zipped(
        {path.name.replace("shapefile", "XX"): path for path in shapefile_parts(samples).values()},
        name="shapes.zip",
    )
    shapes.write_bytes(shapes.read_bytes().replace(b"XX.", "ä.".encode()))
    with linked_source(shapes, _detect(shapes), {}, name="x.zip", scratch=tmp_path) as source:
        assert pyogrio.read_info(source.gdal_path)["features"] == 3


def test_a_second_name_that_does_not_fit(samples: Path, tmp_path: Path) -> None:
    """GDAL would see an overview, but the check another file."""
    path = tmp_path / "x.zip"
    member = _with_unicode_name("notes.bin", "a.tif.ovr")
    member.extra = member.extra[:5] + bytes(4) + member.extra[9:]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.tif", (samples / "geotiff.tif").read_bytes())
        archive.writestr(member, "<VRTDataset/>")
    with pytest.raises(ArchiveUnsafe, match="second, different name"):
        _detect(path)


def test_a_sidecar_under_its_second_name_is_checked(samples: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.tif", (samples / "geotiff.tif").read_bytes())
        archive.writestr(_with_unicode_name("notes.bin", "a.tif.ovr"), "<VRTDataset/>")
    with pytest.raises(UnsupportedFormat, match=r"a\.tif\.ovr"):
        _detect(path)


def _with_unicode_name(plain: str, name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(plain)
    encoded = name.encode()
    member.extra = (
        struct.pack("<HHBI", 0x7075, 5 + len(encoded), 1, zlib.crc32(plain.encode())) + encoded
    )
    return member
