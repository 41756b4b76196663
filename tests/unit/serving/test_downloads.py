"""Which bytes a request for an asset gets: ranges, entity tags, file names, refusals."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo_platform.contracts.message import ObjectReference
from geo_platform.errors import NotFound
from geo_platform.ports import ASSET_CONTAINER, ASSET_KEY, ASSET_TABLE, StoredObject
from geo_platform.serving.downloads import (
    ByteRange,
    StoredAsset,
    UnsatisfiableRangeError,
    download_path,
    is_range_valid,
    range_of,
    stored_asset,
)
from geo_platform.serving.published import PublishedItem


def item_with(asset: dict[str, Any], name: str = "data") -> PublishedItem:
    return PublishedItem("rasters", "dem", "0123456789abcdef", {"assets": {name: asset}})


def asset_at(key: str, name: str = "data", **more: Any) -> StoredAsset:
    return stored_asset(
        item_with({"href": "x", ASSET_CONTAINER: "silver", ASSET_KEY: key, **more}, name), name
    )


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=0-99", (0, 100)),
        ("bytes=10-19", (10, 20)),
        ("bytes=90-", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes=50-1000", (50, 100)),
        ("Bytes=1-2", (1, 3)),
        ("bytes=0-1,5-6", None),
        ("bytes=5-2", None),
        ("bytes=-", None),
        ("bytes=a-b", None),
        ("bytes=1-2-3", None),
        ("lines=1-2", None),
        (f"bytes={'9' * 5000}-", None),
        ("", None),
    ],
)
def test_a_range_is_of_the_object_and_what_is_not_one_gets_all(
    header: str | None, expected: tuple[int, int] | None
) -> None:
    assert range_of(header, 100) == (expected and ByteRange(*expected))


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=999999-"])
def test_a_range_without_any_byte_is_unsatisfiable(header: str) -> None:
    with pytest.raises(UnsatisfiableRangeError):
        range_of(header, 100)


@given(st.text(max_size=30) | st.from_regex(r"bytes=\d*-\d*"), st.integers(0, 10**6))
def test_any_header_gets_all_or_a_part_that_exists(header: str, size: int) -> None:
    try:
        found = range_of(header, size)
    except UnsatisfiableRangeError:
        return
    assert found is None or 0 <= found.start < found.end <= size


def test_the_tag_changes_with_the_version_and_with_the_object() -> None:
    def stored(etag: str) -> StoredObject:
        reference = ObjectReference(
            container="silver", key="a.tif", uri="file:///a.tif", etag=etag, size_bytes=1
        )
        return StoredObject(reference, datetime(2026, 1, 1, tzinfo=UTC))

    asset = asset_at("cogs/a.tif")
    tag = asset.etag_of(stored("e1"))
    assert re.fullmatch(r'"[0-9a-f]{16}-e1"', tag)
    assert tag != asset.etag_of(stored("e2"))
    assert asset.known_tag(tag) == tag
    assert asset.known_tag(f'"other", W/{tag}') == tag
    assert asset.known_tag('"fedcba9876543210-e1"') is None
    assert asset.known_tag(None) is None
    assert is_range_valid(None, tag)
    assert is_range_valid(tag, tag)
    # A weak tag and a date do not prove that two parts are of one content.
    assert not is_range_valid(f"W/{tag}", tag)
    assert not is_range_valid("Thu, 01 Jan 2026 00:00:00 GMT", tag)


@pytest.mark.parametrize(
    ("asset", "header"),
    [
        (asset_at("cogs/f/dem_analysis.tif"), 'attachment; filename="dem_analysis.tif"'),
        (
            asset_at("cogs/f/preview.webp", "preview", roles=["overview"]),
            'inline; filename="dem_preview.webp"',
        ),
        (asset_at("cogs/f/höhe.tif"), "attachment; filename*=UTF-8''h%C3%B6he.tif"),
        (asset_at('cogs/f/a"b\\c.tif'), "attachment; filename*=UTF-8''a%22b%5Cc.tif"),
    ],
)
def test_a_file_is_saved_under_a_name_that_says_what_it_is(asset: StoredAsset, header: str) -> None:
    assert asset.content_disposition == header


def test_a_table_is_refused_with_where_its_rows_are() -> None:
    table = item_with({"href": "postgresql://host/db", ASSET_TABLE: "roads"}, "table")
    with pytest.raises(NotFound, match="has no file") as refused:
        stored_asset(table, "table")
    assert "/features/collections" in refused.value.remedy


def test_what_is_stored_elsewhere_and_what_does_not_exist_is_refused() -> None:
    foreign = item_with({"href": "https://elsewhere.example/a.tif"})
    with pytest.raises(NotFound, match="not stored by this platform"):
        stored_asset(foreign, "data")
    with pytest.raises(NotFound, match="no asset 'nothing'"):
        stored_asset(foreign, "nothing")


def test_the_path_is_quoted() -> None:
    assert download_path("a b", "c/d", "höhe") == (
        "/stac/collections/a%20b/items/c%2Fd/assets/h%C3%B6he"
    )
