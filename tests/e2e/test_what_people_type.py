"""Each way to name a source on the command line: paths, objects of the store, URLs, refusals."""

import gzip
import json
import os
import shutil
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import geopandas as gpd
import pytest
import rasterio
from pyproj import CRS
from rich.console import Console

from geo_platform.cli.addresses import WebAddress
from geo_platform.cli.downloads import downloads
from geo_platform.settings import Profile, Settings
from tests.support import outputs
from tests.support.azure_addresses import certificate_for
from tests.support.command import SAMPLES, Ended
from tests.support.in_process import DAGSTER_S_WARNINGS, geo_platform_here
from tests.support.production import PRODUCTION_IS_SLOW, ProfileUnderTest

pytestmark = DAGSTER_S_WARNINGS


@pytest.fixture
def embedded() -> ProfileUnderTest:
    return ProfileUnderTest(Profile.embedded, {})


def _write(path: Path, *, lon: float = 11.0, name: str = "here") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    feature = {
        "type": "Feature",
        "properties": {"name": name},
        "geometry": {"type": "Point", "coordinates": [lon, 47.5]},
    }
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return path


def _keys(profile: ProfileUnderTest, home: Path) -> list[str]:
    return sorted(stored.reference.key for stored in profile.objects(home).list("bronze"))


def _told(ended: Ended) -> list[tuple[str, str | None]]:
    return [(line["outcome"], (line["error"] or {}).get("code")) for line in ended.lines]


@PRODUCTION_IS_SLOW
def test_every_path_of_a_file_is_one_object(
    tmp_path: Path, profile: ProfileUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    _write(tmp_path / "anna" / "data" / "points.geojson")
    (tmp_path / "anna" / "work").mkdir()
    (tmp_path / "anna" / "link.geojson").symlink_to("data/points.geojson")
    (tmp_path / "elsewhere").symlink_to("anna/data")
    monkeypatch.setenv("HOME", str(tmp_path / "anna"))
    monkeypatch.chdir(tmp_path / "anna" / "work")
    ingest = partial(geo_platform_here, "ingest", "--json", home=home, extra=profile.environment)
    first = ingest("../data/points.geojson")
    assert _told(first) == [("published", None)]
    assert first.lines[0]["item"] == "points"
    (key,) = _keys(profile, home)
    assert key.startswith("local/")
    assert key.endswith("/points.geojson")
    assert "anna" not in key
    again = ingest(
        "~/data/points.geojson",
        "../link.geojson",
        "./../data/../data//points.geojson",
        "../../elsewhere/points.geojson",
        tmp_path / "anna" / "data" / "points.geojson",
    )
    assert _told(again) == [("unchanged", None)], "one file is one source"
    monkeypatch.chdir(tmp_path)
    for typed in ("anna/link.geojson", "elsewhere", "~/data", "anna/work/..", f"bronze/{key}"):
        assert set(_told(ingest(typed))) == {("unchanged", None)}, typed
    assert _told(ingest(f"az://bronze/{key}", "bronze/", "bronze/local", "az://bronze")) == [
        ("unchanged", None)
    ]
    assert _keys(profile, home) == [key]
    for typed in ("~/data", f"az://bronze/{key}"):
        planned = geo_platform_here("plan", "--json", typed, home=home, extra=profile.environment)
        assert [line["found"]["item"] for line in planned.lines] == ["vectors/points"]


def test_files_of_one_name_are_two_objects_and_the_second_is_no_silent_replacement(
    tmp_path: Path, embedded: ProfileUnderTest
) -> None:
    home = tmp_path / "home"
    north, south = (
        _write(tmp_path / folder / "roads.geojson", lon=lon)
        for folder, lon in (("north", 11.0), ("south", 12.0))
    )
    ingest = partial(geo_platform_here, "ingest", "--json", home=home, extra=embedded.environment)
    assert _told(ingest(north)) == [("published", None)]
    refused = ingest(south)
    assert _told(refused) == [("refused", "TABLE_EXISTS")]
    assert len(_keys(embedded, home)) == 2
    assert "--table-name and another --item-id" in refused.lines[0]["error"]["remedy"]
    named = ingest(south, "--item-id", "south-roads", "--table-name", "south_roads")
    assert _told(named) == [("published", None)]
    assert outputs.frame(embedded, home, named.lines[0]).total_bounds[0] == 12.0


NAMES = (
    "ein punkt (1) #2 %20 ?.geojson",
    "back\\slash.geojson",
    "line\nbreak.geojson",
    ".hidden.geojson",
    "地図.geojson",
    "n" * 247 + ".geojson",
    "-dash.geojson",
    "bronze:x.geojson",
    "BRONZE:y.geojson",
    os.fsdecode(b"latin-\xe9.geojson"),
)


def test_names_that_the_shell_can_open(
    tmp_path: Path, embedded: ProfileUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        _write(Path(name))
    home = tmp_path / "home"
    ended = geo_platform_here("ingest", "--json", "--", *NAMES, home=home, extra={})
    assert _told(ended) == [("published", None)] * len(NAMES)
    assert len(_keys(embedded, home)) == len(NAMES)


def test_a_link_of_git_annex_keeps_its_name_and_a_shapefile_of_links_its_parts(
    tmp_path: Path, embedded: ProfileUnderTest
) -> None:
    home, folder = tmp_path / "home", tmp_path / "repository"
    content = folder / ".git" / "annex" / "objects"
    content.mkdir(parents=True)
    made = tmp_path / "made"
    made.mkdir()
    gpd.GeoDataFrame(
        {"name": ["a"]}, geometry=gpd.points_from_xy([11.0], [47.0]), crs="EPSG:4326"
    ).to_file(made / "wells.shp")
    for number, part in enumerate(sorted(made.iterdir())):
        part.rename(content / f"SHA256-{number}")
        (folder / part.name).symlink_to(f".git/annex/objects/SHA256-{number}")
    ended = geo_platform_here("ingest", "--json", folder, home=home, extra=embedded.environment)
    assert [(line["outcome"], line["item"]) for line in ended.lines] == [("published", "wells")]
    frame = outputs.frame(embedded, home, ended.lines[0])
    assert (frame["name"].tolist(), frame.crs.to_epsg()) == (["a"], 4326)


def test_a_link_to_a_shapefile_finds_the_parts_of_the_file(
    tmp_path: Path, embedded: ProfileUnderTest
) -> None:
    (tmp_path / "data").mkdir()
    gpd.GeoDataFrame(
        {"name": ["a"]}, geometry=gpd.points_from_xy([11.0], [47.0]), crs="EPSG:4326"
    ).to_file(tmp_path / "data" / "wells.shp")
    (tmp_path / "latest.shp").symlink_to("data/wells.shp")
    home = tmp_path / "home"
    for command in ("plan", "ingest"):
        ended = geo_platform_here(
            command, "--json", tmp_path / "latest.shp", home=home, extra=embedded.environment
        )
        assert ended.exit_code == 0, ended.stdout
    assert ended.lines[0]["item"] == "wells"
    assert outputs.frame(embedded, home, ended.lines[0])["name"].tolist() == ["a"]


def test_a_sidecar_that_was_removed_no_longer_counts(
    tmp_path: Path, embedded: ProfileUnderTest
) -> None:
    grid = "ncols 2\nnrows 2\nxllcorner 600000\nyllcorner 5200000\ncellsize 10\n1 2\n3 4\n"
    path = tmp_path / "grid.asc"
    path.write_text(grid)
    (tmp_path / "grid.prj").write_text(CRS.from_epsg(32632).to_wkt("WKT1_ESRI"))
    home = tmp_path / "home"
    ingest = partial(geo_platform_here, "ingest", "--json", path, home=home, extra={})
    assert _told(ingest()) == [("published", None)]
    (tmp_path / "grid.prj").unlink()
    assert _told(ingest()) == [("refused", "CRS_MISSING")]
    assert [key.rpartition("/")[2] for key in _keys(embedded, home)] == ["grid.asc"]
    # A link has the sidecars beside it if the file that it leads to has none.
    (tmp_path / "latest.asc").symlink_to("grid.asc")
    (tmp_path / "latest.prj").write_text(CRS.from_epsg(32633).to_wkt("WKT1_ESRI"))
    latest = geo_platform_here("ingest", "--json", tmp_path / "latest.asc", home=home, extra={})
    assert _told(latest) == [("published", None)]
    with (
        outputs.output(embedded, home, latest.lines[0], ".tif") as path,
        rasterio.open(path) as cog,
    ):
        assert cog.crs.to_epsg() == 32633


def test_a_file_that_was_ingested_under_its_absolute_path_keeps_that_key(
    tmp_path: Path, embedded: ProfileUnderTest
) -> None:
    home, path = tmp_path / "home", _write(tmp_path / "points.geojson")
    earlier = path.as_posix().lstrip("/")
    embedded.objects(home).put_file("bronze", earlier, path, metadata={})
    ingest = partial(geo_platform_here, "ingest", "--json", home=home, extra=embedded.environment)
    assert _told(ingest(f"bronze/{earlier}")) == [("published", None)]
    assert _told(ingest(path)) == [("unchanged", None)]
    assert _keys(embedded, home) == [earlier]


def test_a_file_in_the_folder_of_the_store_is_the_object_itself(
    tmp_path: Path, embedded: ProfileUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    _write(home / "store" / "bronze" / "incoming" / "points.geojson")
    monkeypatch.chdir(home / "store")
    ended = geo_platform_here(
        "ingest", "--json", "bronze/incoming", home=home, extra=embedded.environment
    )
    assert _told(ended) == [("published", None)]
    assert _keys(embedded, home) == ["incoming/points.geojson"]


@pytest.mark.parametrize(
    ("typed", "code", "instead"),
    [
        ("-", "PARAMETER_INVALID", "Save it to a file and type the path of the file."),
        ("http://example.com/a.tif", "PARAMETER_INVALID", "Type https://example.com/a.tif."),
        ("s3://bucket/a.tif", "PARAMETER_INVALID", "aws s3 cp s3://bucket/a.tif ."),
        ("/vsicurl/https://example.com/a.tif", "PARAMETER_INVALID", "Type https://example.com"),
        ("https://me:secret@example.com/a.tif", "PARAMETER_INVALID", "type its path"),
        ("~nobody-of-this-name/a.tif", "SOURCE_NOT_FOUND", "Check the user name after the ~"),
        ("*.tif", "SOURCE_NOT_FOUND", "type it without quotes"),
        ("absent.tif", "SOURCE_NOT_FOUND", "Check the path"),
        ("SCENE.tif", "SOURCE_NOT_FOUND", "'scene.TIF'"),
        ("dangling.tif", "SOURCE_NOT_FOUND", "Restore the file"),
        ("quarantine/a.tif", "PARAMETER_INVALID", "geo-platform quarantine release a.tif"),
        ("az://quarantine/a.tif", "PARAMETER_INVALID", "quarantine release a.tif"),
        ("bronze/absent.tif", "SOURCE_NOT_FOUND", "bronze"),
        ("az://bronze/none/", "SOURCE_NOT_FOUND", "CONTAINER/KEY"),
        ("/dev/null", "SOURCE_UNREADABLE", "Save its content to a file"),
    ],
)
def test_what_cannot_be_read_says_what_to_type_instead(
    tmp_path: Path,
    embedded: ProfileUnderTest,
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    code: str,
    instead: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scene.TIF").touch()
    (tmp_path / "dangling.tif").symlink_to("gone.tif")
    for command in ("ingest", "plan"):
        ended = geo_platform_here(
            command, "--json", "--", typed, home=tmp_path / "home", extra=embedded.environment
        )
        (line,) = ended.lines
        assert (ended.exit_code, line["outcome"], line["error"]["code"]) == (1, "refused", code)
        assert instead in line["error"]["message"] + line["error"]["remedy"]
        assert "secret" not in ended.stdout + ended.stderr


class _Server(BaseHTTPRequestHandler):
    """Serves one GeoJSON file, in ways that are named by the path."""

    content = b""

    def do_GET(self) -> None:
        way = self.path.split("/")[1].partition("?")[0]
        match way:
            case "moved":
                self._head(302, {"Location": "/files/points.geojson"})
            case "loop":
                self._head(302, {"Location": "/loop"})
            case "insecure":
                self._head(302, {"Location": "http://example.com/points.geojson"})
            case "export":
                named = 'attachment; filename="../../p\u00fcnkte.geojson"'.encode().decode(
                    "latin-1"
                )
                self._send(self.content, {"Content-Disposition": named})
            case "gzip":
                self._send(gzip.compress(self.content), {"Content-Encoding": "gzip"})
            case "bomb":
                self._send(gzip.compress(bytes(10**6)), {"Content-Encoding": "gzip"})
            case "short":
                self._head(200, {"Content-Length": str(len(self.content) + 10)})
                self.wfile.write(self.content)
            case "endless":
                self._head(200, {})
                self._drip(b"x" * 1000)
            case "slow":
                self._head(200, {"Content-Length": "100000"})
                self._drip(b"x")
            case "silent":
                threading.Event().wait(3)
            case "page":
                self._send(b"\n<!DOCTYPE html><html></html>", {})
            case "absent.tif":
                self._head(404, {"Content-Length": "0"})
            case "private.tif":
                self._head(403, {"Content-Length": "0"})
            case _:
                self._send(self.content, {})

    def _send(self, content: bytes, headers: dict[str, str]) -> None:
        self._head(200, {"Content-Length": str(len(content)), **headers})
        self.wfile.write(content)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _drip(self, piece: bytes) -> None:
        try:
            for _ in range(1000):
                self.wfile.write(piece)
                self.wfile.flush()
                threading.Event().wait(0.01)
        except OSError:
            pass  # the client has closed the connection

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with _serving(tmp_path) as listening:
        yield f"http://127.0.0.1:{listening.server_port}"


@contextmanager
def _serving(tmp_path: Path, tls: ssl.SSLContext | None = None) -> Iterator[ThreadingHTTPServer]:
    class Handler(_Server):
        content = _write(tmp_path / "served" / "points.geojson").read_bytes()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        if tls is not None:
            listening.socket = tls.wrap_socket(listening.socket, server_side=True)
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield listening
        finally:
            listening.shutdown()
            thread.join()


@PRODUCTION_IS_SLOW
def test_an_address_is_downloaded_and_found_again(
    tmp_path: Path, profile: ProfileUnderTest, server: str
) -> None:
    home = tmp_path / "home"
    ingest = partial(geo_platform_here, "ingest", "--json", home=home, extra=profile.environment)
    ended = ingest(
        f"{server}/files/points.geojson?token=1#part",
        f"{server}/moved/also.geojson",
        f"{server}/export?id=7",
        f"{server}/gzip/packed.geojson",
        f"{server}/absent.tif",
    )
    assert [
        (*told, line["item"]) for told, line in zip(_told(ended), ended.lines, strict=True)
    ] == [
        ("published", None, "points"),
        ("published", None, "also"),
        ("published", None, ended.lines[2]["item"]),
        ("published", None, "packed"),
        ("refused", "SOURCE_NOT_FOUND", None),
    ]
    assert ended.lines[2]["item"].startswith("punkte")
    assert "token" not in ended.stdout
    assert outputs.frame(profile, home, ended.lines[3])["name"].tolist() == ["here"]
    keys = _keys(profile, home)
    assert [key.split("/")[0] for key in keys] == ["web"] * 4
    again = ingest(f"{server}/files/points.geojson?token=1")
    assert _told(again) == [("unchanged", None)]
    other = ingest(f"{server}/files/points.geojson?token=2")
    assert _told(other) == [("refused", "TABLE_EXISTS")], "another address is another source"
    planned = geo_platform_here(
        "plan", "--json", f"{server}/moved/also.geojson", home=home, extra=profile.environment
    )
    assert planned.lines[0]["found"]["item"] == "vectors/also"
    assert not [path for path in (home / "scratch").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("way", "code"),
    [
        ("loop", "SOURCE_UNREADABLE"),
        ("insecure", "SOURCE_UNREADABLE"),
        ("private.tif", "SOURCE_UNREADABLE"),
        ("page/a.tif", "UNSUPPORTED_FORMAT"),
        ("short/a.geojson", "SOURCE_TRUNCATED"),
        ("files/large.geojson", "PARAMETER_INVALID"),
        ("endless/a.geojson", "PARAMETER_INVALID"),
        ("bomb/a.geojson", "DECOMPRESSION_BOMB"),
    ],
)
def test_a_download_that_fails_leaves_nothing(
    tmp_path: Path, embedded: ProfileUnderTest, server: str, way: str, code: str
) -> None:
    home = tmp_path / "home"
    bounds = {"GEO_PLATFORM_DOWNLOAD_MAX_BYTES": "100" if "large" in way else "5000"}
    ended = geo_platform_here(
        "ingest", "--json", f"{server}/{way}", home=home, extra={**embedded.environment, **bounds}
    )
    assert _told(ended) == [("refused", code)]
    remedy = ended.lines[0]["error"]["remedy"]
    assert code != "PARAMETER_INVALID" or "GEO_PLATFORM_DOWNLOAD_MAX_BYTES" in remedy
    assert code != "UNSUPPORTED_FORMAT" or "the address of the file, not of its page" in remedy
    assert not [path for path in home.rglob("*") if path.is_file()]


@pytest.mark.parametrize("way", ["slow", "silent"])
def test_a_slow_download_ends_within_its_time(
    tmp_path: Path, embedded: ProfileUnderTest, server: str, way: str
) -> None:
    ended = geo_platform_here(
        "plan",
        "--json",
        f"{server}/{way}/a.geojson",
        home=tmp_path / "home",
        extra={**embedded.environment, "GEO_PLATFORM_DOWNLOAD_MINUTES": "0.01"},
    )
    (line,) = ended.lines
    assert line["error"]["code"] == "TIME_EXCEEDED"
    assert "GEO_PLATFORM_DOWNLOAD_MINUTES" in line["error"]["remedy"]


def test_https_is_used_with_a_valid_certificate_and_is_not_left(
    tmp_path: Path, embedded: ProfileUnderTest, server: str
) -> None:
    made = certificate_for(["localhost"], tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    with _serving(tmp_path, context) as listening:
        address = f"https://localhost:{listening.server_port}"

        def planned(way: str, **environment: str) -> dict[str, Any]:
            ended = geo_platform_here(
                "plan", "--json", f"{address}/{way}", home=tmp_path / "home", extra=environment
            )
            return dict(ended.lines[0])

        trusted = {"SSL_CERT_FILE": str(made.certificate)}
        assert planned("files/points.geojson", **trusted)["format"] == "geojson"
        assert planned("moved/also.geojson", **trusted)["format"] == "geojson"
        insecure = planned("insecure", **trusted)["error"]
        assert (insecure["code"], "not https" in insecure["message"]) == ("SOURCE_UNREADABLE", True)
        untrusted = planned("files/points.geojson")["error"]
        assert untrusted["code"] == "SOURCE_UNREADABLE"
        assert "certificate" in untrusted["message"]


def test_the_progress_of_a_download_is_shown(tmp_path: Path, server: str) -> None:
    shown = StringIO()
    console = Console(file=shown, force_terminal=True, width=120)
    with downloads(Settings(home=tmp_path), None, console) as fetch:
        path = fetch(WebAddress(f"{server}/files/points.geojson"))
        assert path.name == "points.geojson"
    assert "points.geojson" in shown.getvalue()
    assert not path.exists()


def test_no_server_answers(tmp_path: Path, embedded: ProfileUnderTest) -> None:
    ended = geo_platform_here(
        "plan", "--json", "http://127.0.0.1:9/a.tif", home=tmp_path, extra=embedded.environment
    )
    assert _told_plan(ended) == ["SOURCE_UNREADABLE"]


def _told_plan(ended: Ended) -> list[str]:
    return [line["error"]["code"] for line in ended.lines]


def test_the_readme_s_commands_from_another_folder(
    tmp_path: Path, embedded: ProfileUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands of README.md, "Your own files", with their files in the folder above."""
    home, data = tmp_path / "home", tmp_path / "data"
    (data / "folder").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    shutil.copy(SAMPLES / "sierra_nevada_srtm.tif", data / "scene.tif")
    _write(data / "folder" / "points.geojson")
    gpd.read_file(data / "folder" / "points.geojson").to_file(data / "parcels.gpkg")
    monkeypatch.chdir(tmp_path / "work")
    run = partial(geo_platform_here, home=home, extra=embedded.environment)
    assert run("plan", "../data/scene.tif").exit_code == 0
    ingested = run("ingest", "../data/scene.tif", "../data/parcels.gpkg")
    assert (ingested.exit_code, ingested.stdout.count("published")) == (0, 2)
    folder = run("ingest", "../data/folder/", "--json")
    assert _told(folder) == [("published", None)]
    assert run("list").exit_code == 0
    assert run("show", "scene", "--json").exit_code == 0
    traced = run("trace", "../data/folder/points.geojson", "--json")
    run_id = folder.lines[0]["run_id"]
    assert [line["run_id"] for line in json.loads(traced.stdout)["timelines"]] == [run_id]
    assert run("status", run_id).exit_code == 0
    assert run("trace", run_id).exit_code == 0
    assert run("doctor").exit_code == 0
    (data / "letter.tif").write_text("Dear reader,\n")
    refused = run("ingest", "../data/letter.tif")
    assert refused.exit_code == 1
    assert "UNSUPPORTED_FORMAT: 'letter.tif' is text" in refused.stdout
