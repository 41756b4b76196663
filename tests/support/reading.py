"""Serve published items with the real server, without Dagster, on either profile."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import rasterio
from rasterio.transform import Affine

from geo_platform.api.app import create_app
from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.principal import Scope
from geo_platform.api.services import Services
from geo_platform.ports import ASSET_CONTAINER, ASSET_KEY, ITEM_SOURCE_CONTAINER, SILVER
from geo_platform.settings import Settings
from tests.support.production import ProfileUnderTest
from tests.support.publications import COLLECTION, item
from tests.support.serving import served


@dataclass
class ReadingApi:
    """The running API of a home. `key` is a reader's key, without limits."""

    address: str
    settings: Settings
    services: Services
    key: str
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60, trust_env=False))

    def ask(
        self, path: str, method: str = "GET", *, key: str | None = None, **rest: Any
    ) -> httpx.Response:
        """Send a request, with the reader's key if no other is given; "" sends none."""
        key = self.key if key is None else key
        headers = {**({"X-Api-Key": key} if key else {}), **rest.pop("headers", {})}
        return self.client.request(method, f"{self.address}{path}", headers=headers, **rest)

    def new_key(self, name: str, **limits: Any) -> str:
        return KeyFile(self.settings.api_keys_file).create(name, Scope.reader, **limits)

    def publish_file(
        self,
        path: Path,
        item_id: str,
        version: str = "v1",
        *,
        collection: str = "rasters",
        **more: Any,
    ) -> dict[str, Any]:
        """Store the file and publish an item whose asset `data` is this file."""
        key = f"cogs/{version}/{path.name}"
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        stored = self.services.objects.put_file(SILVER, key, path, metadata={"sha256": sha256})
        document = item(
            item_id, version, collection=collection, **{ITEM_SOURCE_CONTAINER: "bronze"}
        )
        document["assets"]["data"] |= {
            "href": stored.reference.uri,
            "type": "image/tiff; application=geotiff; profile=cloud-optimized",
            "file:size": stored.reference.size_bytes,
            "file:checksum": f"1220{sha256}",
            ASSET_CONTAINER: SILVER,
            ASSET_KEY: key,
        }
        document["assets"] |= more.pop("assets", {})
        before = self.services.catalog.item(collection, item_id)
        self.services.catalog.publish(
            COLLECTION | {"id": collection},
            json.loads(json.dumps(document)),
            replaces=before and before["properties"]["geo_platform:fingerprint"],
        )
        return document


@contextmanager
def reading_api(home: Path, profile: ProfileUnderTest, **settings: Any) -> Iterator[ReadingApi]:
    """Run the HTTP API of a home until the context ends."""
    names = ("requests", "address_requests", "reads", "address_reads")
    limits = {f"api_{name}_per_minute": 1_000_000 for name in names}
    chosen = profile.settings(home).model_copy(update={**limits, **settings})
    key = KeyFile(chosen.api_keys_file).create(f"reader-{home.stat().st_mtime_ns}", Scope.reader)
    app = create_app(chosen)
    with served(app) as address:
        api = ReadingApi(address, chosen, app.state.services, key)
        try:
            yield api
        finally:
            api.client.close()


def write_cog(path: Path, side: int = 1024, seed: int = 1) -> np.ndarray:
    """Write a COG of random 16-bit pixels in EPSG:32632, and return them (row, column)."""
    pixels = np.random.default_rng(seed).integers(1, 60_000, (side, side), dtype=np.uint16)
    with rasterio.open(
        path,
        "w",
        driver="COG",
        width=side,
        height=side,
        count=1,
        dtype="uint16",
        crs="EPSG:32632",
        transform=Affine(10, 0, 500_000, 0, -10, 5_000_000),
        blocksize=256,
        compress="none",
    ) as cog:
        cog.write(pixels, 1)
    return pixels
