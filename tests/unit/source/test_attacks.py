"""Files that make a driver open other files.

Each attack is first shown to work without the checks, so that the test can fail.
"""

import contextlib
import http.server
import json
import sqlite3
import struct
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio

from geo_platform.contracts.arrival import SourceFormat
from geo_platform.errors import SourceUnreadable, UnsupportedFormat
from geo_platform.source.content import FileContent
from geo_platform.source.driver_files import linked_source
from geo_platform.source.sidecar_content import check_sidecar
from geo_platform.source.sniff import detect
from tests.unit.source.conftest import write_raster
from tests.unit.source.fresh import in_fresh_python

_POINT = {
    "type": "Feature",
    "properties": {"own": 1},
    "geometry": {"type": "Point", "coordinates": [1, 2]},
}


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of the server that no source may reach."""
    path = tmp_path / "secret.geojson"
    feature = {
        "type": "Feature",
        "properties": {"password": 1},
        "geometry": {"type": "Point", "coordinates": [1, 2]},
    }
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return path


@pytest.fixture
def requests() -> Iterator[tuple[str, list[str]]]:
    """Run a local server; yield its address and the requested paths."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"EPSG:2056")

        def log_message(self, *arguments: object) -> None:
            """Log nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def _vrt(target: Path) -> str:
    return (
        f"<OGRVRTDataSource><OGRVRTLayer name='secret'><SrcDataSource>{target}</SrcDataSource>"
        "</OGRVRTLayer></OGRVRTDataSource>"
    )


# How pyogrio opens files by default, and after its drivers and network access were restricted.
_BEFORE_AND_AFTER = """
import json, sys, pyogrio
from geo_platform.source.vector_drivers import restrict_vector_drivers
def answers():
    found = [pyogrio.read_info(path) for path in sys.argv[1:]]
    return [[info["driver"], list(info["fields"])] for info in found]
before = answers()
restrict_vector_drivers()
restrict_vector_drivers()
print(json.dumps([before, answers()]))
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "x.geojson",
            json.dumps({"type": "FeatureCollection", "note": "HERE", "features": [_POINT]}),
        ),
        ("x.csv", "x,y,note\n1,2,HERE\n"),
    ],
)
def test_a_virtual_file_hidden_in_text_is_refused_and_its_driver_gone(
    tmp_path: Path, secret: Path, name: str, text: str
) -> None:
    path = tmp_path / name
    path.write_text(text.replace("HERE", _vrt(secret)))
    with pytest.raises(UnsupportedFormat, match="OGRVRT"):
        detect(path, name=name)
    (before,), (after,) = json.loads(in_fresh_python(_BEFORE_AND_AFTER, path))
    assert before == ["OGR_VRT", ["password"]], "GDAL no longer follows it; the rule may go"
    assert after[0] == {".csv": "CSV", ".geojson": "GeoJSON"}[path.suffix]
    assert "password" not in after[1]


def test_a_second_root_element_behind_the_first_is_refused(tmp_path: Path, secret: Path) -> None:
    path = tmp_path / "x.kml"
    path.write_text(f'<kml xmlns="http://www.opengis.net/kml/2.2"></kml>{_vrt(secret)}')
    with pytest.raises(UnsupportedFormat, match="OGRVRT"):
        detect(path, name=path.name)


@pytest.mark.parametrize("where", ["first", "last"])
def test_a_linked_crs_is_refused_and_not_fetched(
    tmp_path: Path, requests: tuple[str, list[str]], where: str
) -> None:
    address, asked = requests
    crs = {"crs": {"properties": {"href": f"{address}/crs"}, "type": "link"}}
    rest = {"features": [{**_POINT, "properties": {"text": "x" * 400_000}}]}
    members = {**crs, **rest} if where == "first" else {**rest, **crs}
    path = tmp_path / "x.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", **members}))
    with pytest.raises(UnsupportedFormat, match="link"):
        detect(path, name=path.name)
    in_fresh_python(_BEFORE_AND_AFTER, path)
    assert asked == ["/crs"], "asked once, before, and not after"


def test_kml_links_and_gml_schemas_are_not_followed(
    tmp_path: Path, requests: tuple[str, list[str]]
) -> None:
    address, asked = requests
    kml = tmp_path / "x.kml"
    kml.write_text(
        f'<kml xmlns="http://www.opengis.net/kml/2.2"><Document><NetworkLink><Link><href>{address}/a.kml</href></Link></NetworkLink>'
        "<Placemark><Point><coordinates>1,2</coordinates></Point></Placemark></Document></kml>"
    )
    gml = tmp_path / "x.gml"
    gml.write_text(
        '<o:FeatureCollection xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
        ' xmlns:o="urn:o" xmlns:gml="http://www.opengis.net/gml" '
        f'xsi:schemaLocation="urn:o {address}/o.xsd"><gml:featureMember><o:f>'
        '<gml:Point srsName="EPSG:4326"><gml:coordinates>1,2'
        "</gml:coordinates></gml:Point></o:f></gml:featureMember></o:FeatureCollection>"
    )
    for path in (kml, gml):
        detect(path, name=path.name)
    _, after = json.loads(in_fresh_python(_BEFORE_AND_AFTER, kml, gml))
    assert [driver for driver, _ in after] == ["LIBKML", "GML"]
    assert asked == []


def test_a_jpeg_2000_whose_metadata_names_another_file(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "x.jp2", "JP2OpenJPEG", WRITE_METADATA="YES")
    assert detect(path, name="x.jp2").format is SourceFormat.jpeg2000
    item = b"<Metadata domain='OVERVIEWS'><MDI key='OVERVIEW_FILE'>/etc/passwd</MDI></Metadata>"
    xml = b"<GDALMultiDomainMetadata>" + item + b"</GDALMultiDomainMetadata>"
    content = path.read_bytes()
    at = content.index(b"jp2c") - 4
    path.write_bytes(
        content[:at] + (len(xml) + 8).to_bytes(4, "big") + b"xml " + xml + content[at:]
    )
    with pytest.raises(UnsupportedFormat, match="refers to another file"):
        detect(path, name="x.jp2")


_BUSY_TEXTS = [
    '{"a":"' + '\\"' * 60_000,
    '{"type":"FeatureCollection",' + '"crs":{' * 37_000,
    "[" * 250_000,
    '"' * 250_000,
]


@pytest.mark.parametrize("text", _BUSY_TEXTS, ids=["escapes", "members", "brackets", "quotes"])
def test_text_made_to_keep_a_parser_busy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(text)
    began = time.perf_counter()
    with contextlib.suppress(UnsupportedFormat):
        detect(path, name="x.csv")
    assert time.perf_counter() - began < 3


def test_a_tiff_with_very_many_copies_of_one_metadata_entry(tmp_path: Path) -> None:
    xml = b"<GDALMetadata>" + b"<Item name='a'>b</Item>" * 20_000 + b"</GDALMetadata>"

    def entry(tag: int, kind: int, count: int, value: int) -> bytes:
        return struct.pack("<HHII", tag, kind, count, value)

    at, directories = 8, b""
    for number in range(200):
        entries = entry(256, 3, 1, 1) + entry(257, 3, 1, 1) + entry(42112, 2, len(xml), 60_000)
        following = 0 if number == 199 else at + 2 + len(entries) + 4
        directories += struct.pack("<H", 3) + entries + struct.pack("<I", following)
        at = following
    path = tmp_path / "x.tif"
    path.write_bytes((b"II*\0" + struct.pack("<I", 8) + directories).ljust(60_000, b"\0") + xml)
    with pytest.raises(SourceUnreadable, match="GDAL metadata"):
        detect(path, name="x.tif")


@pytest.mark.parametrize(
    "prolog",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE x [<!ENTITY secret SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">',
    ],
)
def test_document_types_and_entities_are_refused(tmp_path: Path, prolog: str) -> None:
    path = tmp_path / "x"
    for root in (
        '<kml xmlns="http://www.opengis.net/kml/2.2">&b;</kml>',
        '<f xmlns:gml="http://www.opengis.net/gml"/>',
    ):
        path.write_text(f'<?xml version="1.0"?>{prolog}{root}')
        with pytest.raises(UnsupportedFormat, match="document type or entities"):
            detect(path, name="x.gml")


def _half_size(path: Path, value: int) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with rasterio.open(
            path, "w", driver="GTiff", width=32, height=24, count=1, dtype="uint8"
        ) as dataset:
            dataset.write(np.full((1, 24, 32), value, "uint8"))
    return path


@pytest.mark.parametrize("domain", ["OVERVIEWS", "overviews"])
def test_a_tiff_whose_metadata_names_another_file(tmp_path: Path, domain: str) -> None:
    secret = _half_size(tmp_path / "secret.tif", 99)
    path = write_raster(tmp_path / "x.tif", tags={domain: {"OVERVIEW_FILE": str(secret)}})
    with rasterio.open(path, driver="GTiff") as dataset:
        assert dataset.read(1, out_shape=(24, 32)).max() == 99, (
            "GDAL no longer follows it; the rule may go"
        )
    with pytest.raises(UnsupportedFormat, match="refers to another file"):
        detect(path, name="x.tif")


def test_geolocation_arrays_in_other_files_are_refused(tmp_path: Path) -> None:
    path = write_raster(
        tmp_path / "x.tif", tags={"GEOLOCATION": {"X_DATASET": "/etc/passwd", "X_BAND": "1"}}
    )
    with pytest.raises(UnsupportedFormat, match="refers to another file"):
        detect(path, name="x.tif")


def test_metadata_of_every_other_kind_passes(tmp_path: Path) -> None:
    path = write_raster(
        tmp_path / "x.tif",
        tags={
            "": {"AREA_OR_POINT": "Area", "note": "<a>&amp;\u00e9"},
            "IMAGERY": {"CLOUDCOVER": "3"},
        },
    )
    assert detect(path, name="x.tif").format is SourceFormat.geotiff


@pytest.mark.parametrize("suffix", [".msk", ".ovr"])
def test_a_virtual_mask_or_overview_beside_a_tiff_reaches_no_driver(
    tmp_path: Path, suffix: str
) -> None:
    path = write_raster(tmp_path / "x.tif")
    size = (64, 48) if suffix == ".msk" else (32, 24)
    secret = _half_size(tmp_path / "secret.tif", 99)
    beside = tmp_path / f"x.tif{suffix}"
    beside.write_text(
        f'<VRTDataset rasterXSize="{size[0]}" rasterYSize="{size[1]}">'
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{secret}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with rasterio.open(path, driver="GTiff") as dataset:
        assert str(secret) in dataset.files, "GDAL no longer follows it; the rule may go"
    with pytest.raises(UnsupportedFormat, match="not a TIFF"):
        check_sidecar(FileContent(beside, beside.name))
    detected = detect(path, name="x.tif")
    if suffix == ".msk":
        with (
            pytest.raises(UnsupportedFormat),
            linked_source(
                path, detected, {beside.name: beside}, name="x.tif", scratch=tmp_path / "s"
            ),
        ):
            pass
    else:
        with (
            linked_source(
                path, detected, {beside.name: beside}, name="x.tif", scratch=tmp_path / "s"
            ) as source,
            rasterio.open(source.gdal_path, driver="GTiff") as dataset,
        ):
            assert dataset.files == [source.gdal_path]


@pytest.mark.parametrize(
    "document",
    [
        "<PAMDataset><Metadata domain='OVERVIEWS'><MDI "
        "key='OVERVIEW_FILE'>/etc/passwd</MDI></Metadata></PAMDataset>",
        "<PAMDataset><Metadata domain='Geolocation'><MDI "
        "key='X_DATASET'>/vsicurl/http://h/x</MDI></Metadata></PAMDataset>",
        "<VRTDataset/>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><PAMDataset/>",
    ],
)
def test_auxiliary_metadata_that_names_other_files_is_refused(
    tmp_path: Path, document: str
) -> None:
    beside = tmp_path / "x.tif.aux.xml"
    beside.write_text(document)
    path = write_raster(tmp_path / "x.tif")
    with (
        pytest.raises(UnsupportedFormat) as refusal,
        linked_source(
            path,
            detect(path, name="x.tif"),
            {beside.name: beside},
            name="x.tif",
            scratch=tmp_path / "s",
        ),
    ):
        pass
    assert ".aux.xml" in refusal.value.message


def _geopackage(samples: Path, tmp_path: Path, *statements: str, entry: str | None = None) -> Path:
    """Copy a GeoPackage and write `entry` into its schema unexecuted, as an attacker does."""
    path = tmp_path / "x.gpkg"
    path.write_bytes((samples / "geopackage.gpkg").read_bytes())
    database = sqlite3.connect(path)
    for statement in ("PRAGMA writable_schema = ON", *statements):
        database.execute(statement)
    if entry:
        database.execute(
            "INSERT INTO sqlite_schema VALUES ('table', 'evil', 'evil', 0, ?)", (entry,)
        )
    database.commit()
    database.close()
    return path


@pytest.mark.parametrize(
    "entry",
    [
        "CREATE VIRTUAL TABLE evil USING VirtualOGR('/etc/passwd')",
        'CREATE /* */ virtual\n TABLE evil USING "virtualogr"(x)',
    ],
)
def test_a_geopackage_with_foreign_virtual_tables_is_refused(
    samples: Path, tmp_path: Path, entry: str
) -> None:
    with pytest.raises(UnsupportedFormat, match="evil"):
        detect(_geopackage(samples, tmp_path, entry=entry), name="x.gpkg")


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW evil AS SELECT ogr_datasource_load_layers('/etc/passwd')",
        "CREATE VIEW evil AS SELECT \"load_extension\" ('x')",
    ],
)
def test_a_geopackage_with_functions_that_reach_outside_is_refused(
    samples: Path, tmp_path: Path, statement: str
) -> None:
    with pytest.raises(UnsupportedFormat, match="evil"):
        detect(_geopackage(samples, tmp_path, statement), name="x.gpkg")


def test_a_geopackage_with_views_triggers_and_search_tables_passes(
    samples: Path, tmp_path: Path
) -> None:
    path = _geopackage(
        samples,
        tmp_path,
        "CREATE VIEW some AS SELECT * FROM geopackage",
        "CREATE TABLE log (name)",
        "CREATE TRIGGER logging AFTER INSERT ON log BEGIN DELETE FROM log; END",
        "CREATE VIRTUAL TABLE names USING fts5(name)",
        "CREATE VIRTUAL TABLE boxes USING rtree(id, a, b)",
    )
    assert detect(path, name="x.gpkg").format is SourceFormat.geopackage


def test_a_geopackage_with_an_endless_view_as_contents(tmp_path: Path) -> None:
    path = tmp_path / "x.gpkg"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE gpkg_geometry_columns (a)")
    database.execute(
        "CREATE VIEW gpkg_contents AS "
        "WITH RECURSIVE n(data_type) AS (SELECT 1 UNION ALL SELECT data_type + 1 FROM n) "
        "SELECT data_type FROM n"
    )
    database.execute("PRAGMA application_id = 0x47504B47")
    database.commit()
    database.close()
    with pytest.raises((UnsupportedFormat, SourceUnreadable)):
        detect(path, name="x.gpkg")


def test_a_polyglot_is_recognised_by_its_first_bytes(tmp_path: Path, samples: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes((samples / "png.png").read_bytes() + b"PK\x03\x04<OGRVRTDataSource/>")
    assert detect(path, name="x.zip").format is SourceFormat.png
