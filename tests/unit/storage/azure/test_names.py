"""Names and metadata are encoded for headers, and decoded to what was given."""

import re
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.errors import ParameterInvalid
from geo_platform.storage.azure.names import (
    blob_uri,
    check_new_key,
    content_type,
    decoded_metadata,
    encoded_metadata,
)

TEXT = st.text(max_size=20)
METADATA = st.dictionaries(
    TEXT | st.sampled_from(["run_id", "upload_id", "hex_61", "Run_Id", "1a", ""]), TEXT, max_size=6
)


@given(metadata=METADATA)
def test_metadata_is_read_back_unchanged(metadata: dict[str, str]) -> None:
    assert decoded_metadata(encoded_metadata(metadata, upload_id="0")) == metadata


@given(metadata=METADATA)
def test_metadata_is_sent_as_identifiers_and_plain_ascii(
    metadata: dict[str, str],
) -> None:
    encoded = encoded_metadata(metadata, upload_id="0")
    assert len({name.lower() for name in encoded}) == len(metadata) + 1
    for name, value in encoded.items():
        assert re.fullmatch(r"[a-z_][a-z0-9_]*", name)
        assert re.fullmatch(r"[!-~]+", value)


def test_metadata_of_the_platform_is_stored_readable() -> None:
    said = {
        "run_id": "3f1c-7",
        "fingerprint": "ab12",
        "source_uri": "https://a.blob.core.windows.net/bronze/a%20b.tif",
    }
    encoded = encoded_metadata(said, upload_id="u")
    assert (encoded["run_id"], encoded["fingerprint"], encoded["upload_id"]) == (
        "3f1c-7",
        "ab12",
        "u",
    )
    assert encoded["source_uri"] == "https://a.blob.core.windows.net/bronze/a%2520b.tif"


def test_metadata_of_other_programs_is_decoded_where_possible() -> None:
    assert decoded_metadata(None) == {}
    foreign = {"Owner": "GIS", "share": "100%", "bytes": "%ff", "hex_zz": "x"}
    assert decoded_metadata(foreign) == {
        "Owner": "GIS",
        "share": "100%",
        "bytes": "�",
        "hex_zz": "x",
    }


def test_metadata_that_the_service_would_refuse_is_refused() -> None:
    with pytest.raises(ParameterInvalid, match="8192 are allowed"):
        encoded_metadata({"k": "é" * 1500}, upload_id="0")
    with pytest.raises(ParameterInvalid, match="Unicode"):
        encoded_metadata({"k": "\udc80"}, upload_id="0")


@given(key=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30))
def test_a_uri_can_be_decoded_to_its_key(key: str) -> None:
    uri = blob_uri("https://account.blob.core.windows.net/", "test-bronze", key)
    assert uri.isascii()
    parts = urlsplit(uri)
    assert (parts.netloc, unquote(parts.path), parts.query, parts.fragment) == (
        "account.blob.core.windows.net", f"/test-bronze/{key}", "", "",
    )  # fmt: skip


@pytest.mark.parametrize("key", ["a.", "a./b", "a/..b/c.", "/".join("a" * 255)])
def test_names_that_the_service_would_change_or_refuse_are_refused(key: str) -> None:
    with pytest.raises(ParameterInvalid):
        check_new_key(key)


def test_content_types() -> None:
    assert content_type("a/B.TIF", {}) == "image/tiff"
    assert content_type("a.json", {"media_type": "application/geo+json"}) == "application/geo+json"
    assert (
        content_type("a", {})
        == content_type("a.xyz", {"media_type": ""})
        == "application/octet-stream"
    )
