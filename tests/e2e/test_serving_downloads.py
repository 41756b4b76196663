"""Download the files of published items, as browsers, curl and GDAL do, on each profile."""

import hashlib
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from geo_platform.ports import ASSET_SCHEMA, ASSET_TABLE, SILVER
from geo_platform.settings import Profile
from tests.support.gdal_commands import assert_gdal_reads, gdal
from tests.support.production import ProfileUnderTest
from tests.support.reading import ReadingApi, reading_api, write_cog

DATA = "/stac/collections/rasters/items/dem/assets/data"
SIDE = 1536


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "dem_analysis.tif"
    write_cog(path, SIDE)
    return path


@pytest.fixture(scope="module")
def api(
    module_profile: ProfileUnderTest, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReadingApi]:
    with reading_api(tmp_path_factory.mktemp("home"), module_profile) as one:
        table = {"table": {"href": "postgresql://host/db?table=geo.roads", "roles": ["data"]}}
        table["table"] |= {ASSET_SCHEMA: "geo", ASSET_TABLE: "roads"}
        one.publish_file(source, "dem", assets=table)
        yield one


def test_the_whole_file_and_every_range_have_the_bytes_of_the_file(
    api: ReadingApi, source: Path
) -> None:
    content = source.read_bytes()
    size = len(content)
    whole = api.ask(DATA)
    assert whole.status_code == 200
    assert whole.content == content
    assert whole.headers["content-length"] == str(size)
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-type"] == (
        "image/tiff; application=geotiff; profile=cloud-optimized"
    )
    assert whole.headers["content-disposition"] == 'attachment; filename="dem_analysis.tif"'
    assert whole.headers["cache-control"] == "no-cache"
    for asked, start, end in (
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        (f"bytes={size - 5}-", size - 5, size),
        ("bytes=-7", size - 7, size),
        (f"bytes=1000000-{3_500_000}", 1_000_000, 3_500_001),
    ):
        part = api.ask(DATA, headers={"Range": asked})
        assert part.status_code == 206
        assert part.content == content[start:end]
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
        assert part.headers["etag"] == whole.headers["etag"]
    several = api.ask(DATA, headers={"Range": "bytes=0-1,5-6"})
    assert (several.status_code, several.content) == (200, content)


def test_head_has_the_headers_of_get_and_no_body(api: ReadingApi, source: Path) -> None:
    get, head = api.ask(DATA), api.ask(DATA, "HEAD")
    assert head.status_code == 200
    assert head.content == b""
    varying = {"date", "x-request-id"}
    assert {name: value for name, value in head.headers.items() if name not in varying} == {
        name: value for name, value in get.headers.items() if name not in varying
    }
    part = api.ask(DATA, "HEAD", headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.headers["content-length"], part.content) == (206, "10", b"")


def test_a_range_outside_the_file_is_refused_with_its_size(api: ReadingApi, source: Path) -> None:
    size = source.stat().st_size
    refused = api.ask(DATA, headers={"Range": f"bytes={size}-"})
    assert refused.status_code == 416
    assert refused.headers["content-range"] == f"bytes */{size}"
    assert refused.json()["code"] == "PARAMETER_INVALID"


def test_a_conditional_request_is_answered_by_version(api: ReadingApi, source: Path) -> None:
    tag = api.ask(DATA).headers["etag"]
    same = api.ask(DATA, headers={"If-None-Match": f'"x", {tag}', "Range": "bytes=0-1"})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    assert api.ask(DATA, headers={"If-None-Match": "*"}).status_code == 304
    assert api.ask(DATA, headers={"If-None-Match": '"other"'}).status_code == 200
    for value, status in ((tag, 206), ('"other"', 200), (f"W/{tag}", 200)):
        part = api.ask(DATA, headers={"Range": "bytes=0-1", "If-Range": value})
        assert part.status_code == status
        assert len(part.content) == (2 if status == 206 else source.stat().st_size)


def test_the_item_in_the_stac_api_hands_out_the_address(api: ReadingApi, source: Path) -> None:
    item = api.ask("/stac/collections/rasters/items/dem").json()
    href = item["assets"]["data"]["href"]
    assert href.startswith(f"{api.address}{DATA}")
    answer = api.ask(href.removeprefix(api.address))
    assert (answer.status_code, answer.content) == (200, source.read_bytes())


def test_an_unchanged_file_costs_no_access_to_the_store(
    api: ReadingApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = api.ask(DATA).headers["etag"]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the store was asked")

    for name in ("stat", "open", "read_bytes", "local_path"):
        monkeypatch.setattr(api.services.objects, name, refuse)
    assert api.ask(DATA, headers={"If-None-Match": tag}).status_code == 304
    assert api.ask(DATA, "HEAD", headers={"If-None-Match": f"W/{tag}"}).status_code == 304


def test_a_large_file_is_sent_in_bounded_memory(tmp_path: Path) -> None:
    size = 400 * 1024**2
    with (tmp_path / "large.tif").open("wb") as file:
        file.seek(size - 4)
        file.write(b"last")
    with reading_api(tmp_path, ProfileUnderTest(Profile.embedded, {})) as one:
        one.publish_file(tmp_path / "large.tif", "dem")
        received, end = 0, b""
        tracemalloc.start()
        with httpx.stream(
            "GET", f"{one.address}{DATA}", headers={"X-Api-Key": one.key}, trust_env=False
        ) as answer:
            for part in answer.iter_raw():
                received, end = received + len(part), part[-4:]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (received, end) == (size, b"last")
    assert peak < 32 * 1024**2, peak


def test_an_address_with_a_version_is_for_ever_and_never_another_version(
    api: ReadingApi, tmp_path: Path
) -> None:
    old, new = tmp_path / "old.tif", tmp_path / "new.tif"
    write_cog(old, 256, seed=2)
    write_cog(new, 256, seed=3)
    api.publish_file(old, "replaced", "v1")
    path = DATA.replace("/dem/", "/replaced/")
    first = api.ask(path)
    version = first.headers["etag"][1:17]
    named = api.ask(f"{path}?v={version}")
    assert named.content == old.read_bytes()
    assert named.headers["cache-control"] == "private, max-age=31536000, immutable"
    api.publish_file(new, "replaced", "v2")
    again = api.ask(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (200, new.read_bytes())
    # A part of the old file is not continued with the new one.
    rest = api.ask(path, headers={"Range": "bytes=10-", "If-Range": first.headers["etag"]})
    assert (rest.status_code, rest.content) == (200, new.read_bytes())
    api.services.published._remembered.clear()  # or after REMEMBERED_S
    gone = api.ask(f"{path}?v={version}")
    assert (gone.status_code, gone.json()["code"]) == (410, "VERSION_GONE")
    current = again.headers["etag"][1:17]
    assert api.ask(f"{path}?v={current}").content == new.read_bytes()


def test_an_object_that_is_not_the_item_s_is_refused_and_one_that_is_lost_is_gone(
    api: ReadingApi, tmp_path: Path
) -> None:
    small, large = tmp_path / "other.tif", tmp_path / "larger.tif"
    write_cog(small, 256)
    write_cog(large, 512)
    api.publish_file(small, "other", "v8")
    path = DATA.replace("/dem/", "/other/")
    api.services.objects.put_file(SILVER, "cogs/v8/other.tif", large, metadata={})
    refused = api.ask(path)
    assert (refused.status_code, refused.json()["code"]) == (409, "CONFLICT")
    assert "force=true" in refused.json()["remedy"]
    api.services.objects.delete(SILVER, "cogs/v8/other.tif")
    lost = api.ask(path)
    assert (lost.status_code, lost.json()["code"]) == (410, "VERSION_GONE")
    assert "doctor" in lost.json()["remedy"]


def test_another_file_of_the_same_size_under_the_same_name_is_refused(
    api: ReadingApi, tmp_path: Path
) -> None:
    file, other = tmp_path / "twin.tif", tmp_path / "twin_of_it.tif"
    write_cog(file, 256, seed=4)
    write_cog(other, 256, seed=5)
    assert file.stat().st_size == other.stat().st_size
    api.publish_file(file, "twin", "v10")
    path, key = DATA.replace("/dem/", "/twin/"), "cogs/v10/twin.tif"
    assert api.ask(path).content == file.read_bytes()
    sha256 = hashlib.sha256(other.read_bytes()).hexdigest()
    api.services.objects.put_file(SILVER, key, other, metadata={"sha256": sha256})
    for method in ("GET", "HEAD"):
        refused = api.ask(path, method, headers={"Range": "bytes=0-9"})
        assert refused.status_code == 409
    assert api.ask(path).json()["code"] == "CONFLICT"
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    api.services.objects.put_file(SILVER, key, file, metadata={"sha256": sha256})
    assert api.ask(path).content == file.read_bytes()


def test_the_same_content_stored_again_is_sent_at_once(api: ReadingApi, tmp_path: Path) -> None:
    file = tmp_path / "again.tif"
    write_cog(file, 256)
    api.publish_file(file, "again", "v9")
    path = DATA.replace("/dem/", "/again/")
    before = api.ask(path)
    api.services.objects.put_file(SILVER, "cogs/v9/again.tif", file, metadata={})
    after = api.ask(path, headers={"Range": "bytes=0-9", "If-Range": before.headers["etag"]})
    # Whether it is the same content is not known: the part is not continued.
    assert (after.status_code, after.content) == (200, file.read_bytes())
    assert after.headers["etag"] != before.headers["etag"]


def test_what_cannot_be_downloaded_is_refused_with_a_code(api: ReadingApi) -> None:
    table = api.ask(DATA.replace("/data", "/table"))
    assert (table.status_code, table.json()["code"]) == (404, "NOT_FOUND")
    assert "/features/collections" in table.json()["remedy"]
    for path in (
        DATA.replace("/data", "/nothing"),
        DATA.replace("/dem/", "/nothing/"),
        DATA.replace("/dem/", "/..%5c..%5cetc/"),
        DATA.replace("/rasters/", "/nothing/"),
    ):
        assert (api.ask(path).status_code, api.ask(path).json()["code"]) == (404, "NOT_FOUND")
    malformed = api.ask(f"{DATA}?v=../../etc")
    assert (malformed.status_code, malformed.json()["code"]) == (422, "PARAMETER_INVALID")
    assert api.ask(DATA, key="").status_code == 401
    assert api.ask(DATA, key="gp_000000000000_" + "x" * 43).status_code == 401


def test_a_limited_key_gets_its_own_files_and_no_word_of_others(api: ReadingApi) -> None:
    key = api.new_key("limited", datasets=("wells*",))
    refused, none = api.ask(DATA, key=key), api.ask(DATA.replace("/dem/", "/wel/"), key=key)
    assert refused.status_code == none.status_code == 404
    assert refused.json()["detail"] == none.json()["detail"].replace("wel", "dem")
    assert api.ask(DATA, key=api.new_key("its-own", datasets=("dem",))).status_code == 200


def test_the_client_may_leave_in_the_middle(api: ReadingApi, source: Path) -> None:
    headers = {"X-Api-Key": api.key}
    for _ in range(5):
        with httpx.stream("GET", f"{api.address}{DATA}", headers=headers) as answer:
            assert next(answer.iter_raw(1000))
    assert api.ask(DATA).content == source.read_bytes()


class TestGdal:
    """GDAL of Debian, with the key in a header."""

    @pytest.mark.parametrize("header", ["X-Api-Key: {}", "Authorization: Bearer {}"])
    def test_it_opens_a_private_cog_and_reads_its_pixels(
        self, api: ReadingApi, source: Path, tmp_path: Path, header: str
    ) -> None:
        assert_gdal_reads(f"{api.address}{DATA}", header.format(api.key), source, tmp_path)

    def test_without_the_key_it_opens_nothing(self, api: ReadingApi) -> None:
        ended = gdal("gdalinfo", f"/vsicurl/{api.address}{DATA}", header="X-Other: 1")
        assert ended.returncode != 0
