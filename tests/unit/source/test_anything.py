"""Detection of arbitrary content ends with a format or an error of the tree, nothing else."""

import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geo_platform.errors import InputRefused
from geo_platform.source.sniff import DetectedSource, detect

_HEADS = [
    b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"SQLite format 3\0", b"PAR1",
    b"fgb\x03fgb\x01", b"PK\x03\x04", b"PK\x05\x06", b"\0\0\x27\x0a",
    b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff",
    b"EHFA_HEADER_TAG",
    b"{", b'{"type":', b"\x1e{", b"<", b"<kml",
    b"<?xml version='1.0' encoding='x'?>",
    b"\xef\xbb\xbf", b"\xff\xfe<\0", b"ncols 1\nnrows", b"a,b\n", b"\0\0\0\x0d\x0a\x09OSMHeader",
]  # fmt: skip
_ARBITRARY = st.builds(bytes.__add__, st.sampled_from([b"", *_HEADS]), st.binary(max_size=300))
_NAMES = st.sampled_from(["a", "a.csv", "N00E000.hgt", "a.tif", "a.shp", "a.zip"]) | st.text(
    max_size=6
)
_QUICK = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _answer(path: Path, name: str) -> None:
    answer: DetectedSource | InputRefused
    try:
        answer = detect(path, name=name)
    except InputRefused as refusal:
        answer = refusal
    assert isinstance(answer, DetectedSource) or (answer.code and answer.message.isprintable())


@_QUICK
@given(content=_ARBITRARY, name=_NAMES)
def test_arbitrary_bytes(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / "object"
    path.write_bytes(content)
    _answer(path, name)


@pytest.mark.parametrize(
    "name",
    [
        "geotiff.tif",
        "jpeg2000.jp2",
        "geopackage.gpkg",
        "shapefile.shp",
        "geojson.geojson",
        "flatgeobuf.fgb",
        "geoparquet.parquet",
        "kml.kml",
        "csv.csv",
    ],
)
@settings(_QUICK, max_examples=40)
@given(
    damage=st.lists(
        st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4
    ),
    kept=st.floats(0, 1),
)
def test_damaged_files(
    samples: Path, tmp_path: Path, name: str, damage: list[tuple[float, bytes]], kept: float
) -> None:
    content = bytearray((samples / name).read_bytes())
    for where, what in damage:
        at = int(where**4 * len(content))
        content[at : at + len(what)] = what
    path = tmp_path / "object"
    path.write_bytes(content[: max(1, int(kept**0.2 * len(content)))])
    _answer(path, name)


@_QUICK
@given(st.lists(st.tuples(st.text(min_size=1, max_size=12), _ARBITRARY), max_size=4))
def test_archives_of_arbitrary_members(tmp_path: Path, members: list[tuple[str, bytes]]) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {
            name.encode("utf-8", "replace").decode(): content for name, content in members
        }.items():
            if name.startswith("\0"):
                continue  # zipfile cannot write it
            archive.writestr(name, content)
    _answer(path, "x.zip")


@_QUICK
@given(
    damage=st.lists(
        st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), min_size=1, max_size=5
    )
)
def test_damaged_archives(samples: Path, tmp_path: Path, damage: list[tuple[float, bytes]]) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("geojson.geojson", "png.png"):
            archive.writestr(name, (samples / name).read_bytes())
    content = bytearray(path.read_bytes())
    for where, what in damage:
        at = int(where * len(content))
        content[at : at + len(what)] = what
    path.write_bytes(content)
    _answer(path, "x.zip")
