"""What an argument of `ingest` is, and what a refusal says to type instead."""

from pathlib import Path

import pytest

from geo_platform.cli.addresses import StoreAddress, WebAddress, address_of, without_secrets
from geo_platform.errors import ParameterInvalid
from geo_platform.settings import Profile, Settings

SETTINGS = Settings(home=Path("/nowhere"), blob_container_prefix="test-")
ACCOUNT = Settings(
    home=Path("/nowhere"),
    profile=Profile.production,
    blob_container_prefix="test-",
    blob_account_url="https://mine.blob.core.windows.net",
)
IN_GDAL = "Type the path of the file, its address (https://), or bronze/KEY."


@pytest.mark.parametrize(
    ("typed", "is_what"),
    [
        ("a.tif", Path("a.tif")),
        ("../x/../a.tif", Path("../x/../a.tif")),
        ("C:/data/a.tif", Path("C:/data/a.tif")),
        ("a:b.tif", Path("a:b.tif")),
        ("~nobody-of-this-name/a.tif", Path("~nobody-of-this-name/a.tif")),
        ("bronze/in/a.tif", StoreAddress("bronze", "in/a.tif")),
        ("silver/cogs/a.tif", StoreAddress("silver", "cogs/a.tif")),
        ("bronze/", StoreAddress("bronze", "")),
        ("az://bronze/in/a #1?.tif", StoreAddress("bronze", "in/a #1?.tif")),
        ("AZ://test-bronze/a.tif", StoreAddress("bronze", "a.tif")),
        ("https://example.com/a.tif?x=1#y", WebAddress("https://example.com/a.tif?x=1")),
        ("HTTPS:/example.com/a.tif", WebAddress("https://example.com/a.tif")),
        ("http://localhost:8000/a.tif", WebAddress("http://localhost:8000/a.tif")),
        ("http://[::1]/a.tif", WebAddress("http://[::1]/a.tif")),
    ],
)
def test_an_argument_is_a_path_an_object_or_a_url(
    typed: str, is_what: Path | StoreAddress | WebAddress
) -> None:
    assert address_of(typed, SETTINGS) == is_what


def test_what_exists_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for typed in ("bronze/a.tif", "https:/example.com/a.tif", "~/a.tif", "NETCDF:a.nc:t"):
        Path(typed).parent.mkdir(parents=True, exist_ok=True)
        Path(typed).touch()
        assert address_of(typed, SETTINGS) == Path(typed)


def test_a_url_of_the_own_account_is_an_object() -> None:
    own = "https://mine.blob.core.windows.net/test-bronze/in/a%20b.tif?sig=1"
    assert address_of(own, ACCOUNT) == StoreAddress("bronze", "in/a b.tif")
    other = "https://mine.blob.core.windows.net.example.com/test-bronze/a.tif"
    assert address_of(other, ACCOUNT) == WebAddress(other)


@pytest.mark.parametrize(
    ("typed", "remedy"),
    [
        ("gs://b/a.tif", "gcloud storage cp gs://b/a.tif ."),
        ("ftp://me:secret@host/a.tif", "curl -O ftp://host/a.tif"),
        ("scp://host/a.tif", "scp scp://host/a.tif ."),
        ("postgresql://me:secret@host/db", "Download the file, and type its path."),
        ("https://me:secret@host/a.tif", "and type its path."),
        ("https://[::1/a.tif", "Check the address: https://HOST/PATH."),
        ("file:///data/a%20b.tif", "Type the path: /data/a b.tif"),
        ("file:/data/a.tif", "Type the path: /data/a.tif"),
        ("az://photos/a.tif", "Type az://bronze/KEY or az://silver/KEY."),
        (
            "abfss://raw@mine.dfs.core.windows.net/a.tif",
            "https://mine.blob.core.windows.net/raw/a.tif",
        ),
        ("zip://a.zip!b.shp", "Type a.zip --archive-member b.shp"),
        ("zip:///d/a.zip!/b.shp", "Type /d/a.zip --archive-member b.shp"),
        ("zip+https://host/a.zip!b.shp", "Type https://host/a.zip --archive-member b.shp"),
        ("/vsizip/a.zip/b/c.shp", "Type a.zip --archive-member b/c.shp"),
        ("/vsizip//d/a.zip", "Type /d/a.zip"),
        ("/vsizip/{d/a.bin}/b.shp", "Type d/a.bin --archive-member b.shp"),
        ("/vsizip/vsicurl/https://host/a.zip/b.shp", "https://host/a.zip --archive-member b.shp"),
        ("/vsizip//vsicurl/https://host/a.zip/b.shp", "https://host/a.zip --archive-member b.shp"),
        ("/vsicurl_streaming/https://host/a.tif?sig=secret", "Type https://host/a.tif"),
        ("/vsigzip//d/a.tif.gz", "gunzip --keep /d/a.tif.gz"),
        ("/vsitar/a.tgz/b.shp", "Unpack the archive"),
        ("/vsistdin/", "Save standard input to a file"),
        ("/vsis3/b/a.tif", "aws s3 cp s3://b/a.tif ."),
        ("/vsigs_streaming/b/a.tif", "gcloud storage cp gs://b/a.tif ."),
        ("/vsiaz/raw/a.tif", "Type az://raw/a.tif if"),
        ("/vsimem/a.tif", IN_GDAL),
        ('NETCDF:"a.nc":t2m', IN_GDAL),
        ("PG:dbname=geo", IN_GDAL),
        ("quarantine/a.tif", "geo-platform quarantine release a.tif"),
        ("-", "Save it to a file and type the path of the file."),
    ],
)
def test_a_refusal_says_what_to_type_instead(typed: str, remedy: str) -> None:
    with pytest.raises(ParameterInvalid) as refused:
        address_of(typed, SETTINGS)
    assert remedy in refused.value.remedy
    assert "secret" not in str(refused.value)
    assert "secret" not in without_secrets(typed)


def test_a_remedy_names_a_file_that_exists(tmp_path: Path) -> None:
    archive = tmp_path / "a.bin"
    archive.touch()
    for typed, remedy in (
        (f"/vsizip/{archive}/b.shp", f"Type {archive} --archive-member b.shp"),
        (f'NETCDF:"{archive}":t2m', f"Type {archive}"),
    ):
        with pytest.raises(ParameterInvalid) as refused:
            address_of(typed, SETTINGS)
        assert refused.value.remedy == remedy
