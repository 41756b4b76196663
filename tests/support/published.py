"""Read what a run published, so that two runs of one source can be compared."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import geopandas as gpd

from geo_platform.ports import ASSET_CONTAINER, ASSET_KEY, ASSET_SCHEMA, ASSET_TABLE
from tests.support.outputs import read_table
from tests.support.production import ProfileUnderTest

_RUN_ID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}")
# The length of the footer and the magic number.
_PARQUET_TAIL_BYTES = 8


def published_bytes(
    profile: ProfileUnderTest, home: Path, item: Mapping[str, Any]
) -> dict[str, bytes]:
    """Return the bytes of every object of the item, by asset name, with run ids blanked.

    All run ids have the same length. The footer of GeoParquet is left out: it contains names of its
    own, compressed.
    """
    objects = profile.objects(home)
    found = {}
    for name, asset in item["assets"].items():
        if ASSET_KEY in asset:
            content = objects.read_bytes(asset[ASSET_CONTAINER], asset[ASSET_KEY])
            if asset[ASSET_KEY].endswith(".parquet"):
                footer_bytes = int.from_bytes(content[-_PARQUET_TAIL_BYTES:-4], "little")
                content = content[: -footer_bytes - _PARQUET_TAIL_BYTES]
            found[name] = _RUN_ID.sub(lambda match: b"-" * len(match[0]), content)
    return found


def published_rows(
    profile: ProfileUnderTest, home: Path, item: Mapping[str, Any]
) -> gpd.GeoDataFrame | None:
    """Return the rows of the item's table or GeoParquet file, or None for a raster."""
    for asset in item["assets"].values():
        if ASSET_TABLE in asset:
            assert profile.logins is not None
            return read_table(profile.logins.reader, f"{asset[ASSET_SCHEMA]}.{asset[ASSET_TABLE]}")
        if str(asset.get(ASSET_KEY, "")).endswith(".parquet"):
            with profile.objects(home).local_path(asset[ASSET_CONTAINER], asset[ASSET_KEY]) as path:
                return gpd.read_parquet(path)
    return None
