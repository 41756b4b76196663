"""Downloads from the storage account itself, by a signed URL that the platform redirects to."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from geo_platform.settings import ServingDownloads
from tests.support.gdal_commands import assert_gdal_reads
from tests.support.production import ProfileUnderTest
from tests.support.reading import ReadingApi, reading_api, write_cog

PATH = "/stac/collections/rasters/items/redirected/assets/data"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "dem_analysis.tif"
    write_cog(path, 512)
    return path


@pytest.fixture(scope="module")
def redirecting(
    module_production: ProfileUnderTest,
    source: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ReadingApi]:
    home = tmp_path_factory.mktemp("redirecting")
    redirect = {"serving_downloads": ServingDownloads.redirect, "serving_download_minutes": 3}
    with reading_api(home, module_production, **redirect) as one:
        one.publish_file(source, "redirected")
        yield one


def test_the_url_reads_this_blob_with_its_name_and_nothing_else(
    redirecting: ReadingApi, source: Path
) -> None:
    answer = redirecting.ask(PATH)
    assert answer.status_code == 307
    assert answer.headers["cache-control"] == "no-store"
    url = httpx.URL(answer.headers["location"])
    assert (url.params["sp"], url.params["sr"]) == ("r", "b")
    content = httpx.get(url, trust_env=False)
    assert content.content == source.read_bytes()
    assert content.headers["content-disposition"] == 'attachment; filename="dem_analysis.tif"'
    assert content.headers["content-type"].startswith("image/tiff")
    part = httpx.get(url, headers={"Range": "bytes=5-9"}, trust_env=False)
    assert (part.status_code, part.content) == (206, source.read_bytes()[5:10])
    assert httpx.put(
        url, content=b"x", headers={"x-ms-blob-type": "BlockBlob"}, trust_env=False
    ).status_code in (403, 409)
    assert httpx.delete(url, trust_env=False).status_code == 403
    other = url.copy_with(path=url.path.replace("dem_analysis", "other"))
    assert httpx.get(other, trust_env=False).status_code == 403


def test_refusals_and_unchanged_files_need_no_redirect(redirecting: ReadingApi) -> None:
    tag = redirecting.ask(PATH).headers["etag"]
    same = redirecting.ask(PATH, headers={"If-None-Match": tag})
    assert same.status_code == 304
    assert redirecting.ask(PATH.replace("/data", "/none")).status_code == 404
    assert redirecting.ask(PATH, key="").status_code == 401


def test_gdal_follows_and_reads_the_pixels(
    redirecting: ReadingApi, source: Path, tmp_path: Path
) -> None:
    # With this header, GDAL does not send the key to the account.
    header = f"Authorization: Bearer {redirecting.key}"
    assert_gdal_reads(f"{redirecting.address}{PATH}", header, source, tmp_path)
