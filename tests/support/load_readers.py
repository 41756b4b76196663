"""Read published items by every route again and again, and record what each answer holds.

An answer is recorded with the version that it names and the values that are in its pixels or rows
(`rewriting.py` makes them). `faults_of` compares the records with what was published when.
"""

import io
import json
import math
import random
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import rasterio
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from tests.support.gdal_commands import gdal
from tests.support.rewriting import PLACE, History, colour_of, rows_of

PAGE = 37
TABLE_ROWS = rows_of(0)
_ONLY_V = ("-select", "v")
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"


@dataclass(frozen=True)
class Observed:
    """An answer. `asked` is the version in the address, `version` that of the answer.

    `values` are all values that the answer holds. `fault` says what is wrong with it by itself.
    """

    what: str
    item: str
    started: float
    ended: float
    status: int
    asked: str | None = None
    version: str | None = None
    values: frozenset[int] = frozenset()
    fault: str = ""

    def __str__(self) -> str:
        return (
            f"{self.what} {self.item} status {self.status} asked {self.asked} version "
            f"{self.version} values {sorted(self.values)} {self.fault} "
            f"{self.started:.3f} to {self.ended:.3f}"
        )


Decode = Callable[[httpx.Response], frozenset[int]]


class LoadReader:
    """One client. For one thread."""

    def __init__(self, address: str, key: str, items: list[str], folder: Path, seed: int) -> None:
        self.observed: list[Observed] = []
        # The server closes a connection that is idle for 5 s, the client does so before.
        self._client = httpx.Client(
            base_url=address,
            headers={"X-Api-Key": key},
            timeout=60,
            trust_env=False,
            limits=httpx.Limits(keepalive_expiry=1),
        )
        self._items = items
        self._tile_file = folder / f"{seed}.mvt"
        self._random = random.Random(seed)  # noqa: S311  # not a secret
        self._seen: dict[str, deque[str]] = {item: deque(maxlen=5) for item in items}

    def read_until(self, ends: float) -> list[Observed]:
        """Send requests until this time. Return what was observed."""
        with self._client:
            while time.time() < ends:
                item = self._random.choice(self._items)
                routes = _RASTER_ROUTES if item.startswith("rasters/") else _VECTOR_ROUTES
                self._random.choice(routes)(self, item)
        return self.observed

    def stac_item(self, item: str) -> None:
        collection, item_id = item.split("/")
        started = time.time()
        response = self._get(f"/stac/collections/{collection}/items/{item_id}")
        document = response.json() if response.status_code == 200 else None
        text = response.text if response.status_code not in (200, 404) else ""
        self._record_document("item", item, started, response.status_code, document, text)

    def search(self, item: str) -> None:
        """Search for all items, so that the answer may hold several versions of several."""
        started = time.time()
        body = {"collections": ["rasters", "vectors"], "limit": 100}
        response = self._get("/stac/search", method="POST", json=body)
        found: dict[str, Any] = {}
        if response.status_code == 200:
            features = response.json()["features"]
            found = {f"{each['collection']}/{each['id']}": each for each in features}
            if len(found) != len(features):
                self._add(Observed("search", item, started, time.time(), 200, fault="twice"))
        for name in self._items:
            status = response.status_code if name in found else 404
            status = status if response.status_code == 200 else response.status_code
            text = response.text if response.status_code != 200 else ""
            self._record_document("search", name, started, status, found.get(name), text)

    def map_tile(self, item: str) -> None:
        zoom = self._random.choice([9, 11, 12, 13, 14])
        self._read("tile", item, f"{_tile_path(item, 'WebMercatorQuad')}/{_tile(zoom)}.png", _png)

    def value_tile(self, item: str) -> None:
        zoom = self._random.choice([10, 12, 13])
        path = f"{_tile_path(item, 'WebMercatorQuad')}/{_tile(zoom)}.npy"
        self._read("values", item, path, _npy)

    def native_tile(self, item: str) -> None:
        place = self._random.choice(["0/0/0", "1/0/0", "1/1/1"])
        self._read("native", item, f"{_tile_path(item, 'native')}/{place}.npy", _npy)

    def preview(self, item: str) -> None:
        self._read("preview", item, f"{_raster_path(item)}/preview.png?max_size=300", _png)

    def point(self, item: str) -> None:
        path = f"{_raster_path(item)}/point/{PLACE[0]},{PLACE[1]}"
        self._read("point", item, path, lambda response: _colours([response.json()["values"]]))

    def statistics(self, item: str) -> None:
        def decode(response: httpx.Response) -> frozenset[int]:
            bands = list(response.json()["bands"].values())
            return _colours([{str(n): band[end] for n, band in enumerate(bands)}
                             for end in ("min", "max")])  # fmt: skip

        self._read("statistics", item, f"{_raster_path(item)}/statistics", decode)

    def rows(self, item: str) -> None:
        self._read("rows", item, f"{_features_path(item)}/items?limit=1000", _all_rows)

    def filtered_rows(self, item: str) -> None:
        place = f"{PLACE[0]},{PLACE[1]},{PLACE[0] + 0.04},{PLACE[1] + 0.02}"
        self._read("bbox", item, f"{_features_path(item)}/items?bbox={place}&f=csv", _csv_rows)

    def row(self, item: str) -> None:
        def decode(response: httpx.Response) -> frozenset[int]:
            return frozenset({response.json()["properties"]["v"]})

        self._read("row", item, f"{_features_path(item)}/items/7", decode)

    def walk(self, item: str) -> None:
        """Read all pages by the links `next`. All must be of one version, and have every row."""
        started, asked = time.time(), None
        response = self._get(f"{_features_path(item)}/items?limit={PAGE}")
        features: list[Any] = []
        while response.status_code == 200:
            page = response.json()
            features += page["features"]
            following = [link["href"] for link in page["links"] if link["rel"] == "next"]
            version = _version(response)
            if not following:
                break
            asked = asked or version
            if version != asked:
                self._add(Observed("walk", item, started, time.time(), 200, fault="other version"))
            response = self._get(following[0])
        values = frozenset(each["properties"]["v"] for each in features)
        numbers = [each["properties"]["n"] for each in features]
        fault = ""
        if response.status_code == 200 and sorted(numbers) != list(range(rows_of(max(values)))):
            fault = f"{len(numbers)} rows"
        is_first = asked is None
        self._add(
            Observed("walk", item, started, time.time(), response.status_code,
                     None if is_first else asked, _version(response), values, fault)
        )  # fmt: skip

    def vector_tile(self, item: str) -> None:
        def decode(response: httpx.Response) -> frozenset[int]:
            self._tile_file.write_bytes(response.content)
            layer = _features_path(item).rpartition("/")[2]
            # By a command: an earlier test may have left this process without the driver.
            source = f"MVT:{self._tile_file}"
            done = gdal("ogr2ogr", "-f", "CSV", "/vsistdout/", source, layer, *_ONLY_V, header="")
            assert done.returncode == 0, done.stderr
            return frozenset(int(line.strip('"')) for line in done.stdout.split()[1:])

        zoom = self._random.choice([6, 9, 11])
        path = f"{_features_path(item)}/tiles/WebMercatorQuad/{_tile(zoom)}"
        self._read("mvt", item, path, decode)

    def download(self, item: str) -> None:
        """Read the file in ranges, each on the condition that the first one's tag still holds."""
        collection, item_id = item.split("/")
        document = self._get(f"/stac/collections/{collection}/items/{item_id}")
        if document.status_code != 200:
            return
        files = [
            asset["href"]
            for asset in document.json()["assets"].values()
            if "/assets/" in asset["href"] and asset.get("type") in (_COG, _PARQUET)
        ]
        if not files:  # A table in PostGIS.
            return
        address, _, version = files[0].partition("?v=")
        asked = version if self._random.random() < 0.5 else None
        address = files[0] if asked else address
        started, content, tag = time.time(), b"", ""
        while True:
            begin, size = len(content), self._random.choice([700, 5_000, 10**7])
            headers = {"Range": f"bytes={begin}-{begin + size - 1}"} | (
                {"If-Range": tag} if tag else {}
            )
            part_started = time.time()
            response = self._get(address, headers=headers)
            if response.status_code == 200:  # Another file by now: the whole of it.
                started, content, tag = part_started, response.content, response.headers["etag"]
                break
            if response.status_code != 206:
                break
            if response.headers["etag"] != tag != "":
                self._add(Observed("download", item, started, time.time(), 206, fault="tag"))
            tag = response.headers["etag"]
            content += response.content
            if len(content) >= int(response.headers["content-range"].rpartition("/")[2]):
                break
        ended = time.time()
        status = response.status_code
        is_read = status in (200, 206)
        values, fault = _of_file(content) if is_read else (frozenset(), "")
        self._add(
            Observed("download", item, started, ended, status, asked,
                     _version(response), values, fault)
        )  # fmt: skip

    def _read(self, what: str, item: str, path: str, decode: Decode) -> None:
        """Ask with or without a version, and sometimes again on the condition of the tag."""
        asked = self._some_version(item)
        if asked is not None:
            path = f"{path}{'&' if '?' in path else '?'}v={asked}"
        response = self._ask(what, item, path, asked, decode, {})
        if response.status_code == 200 and self._random.random() < 0.3:
            tag = {"If-None-Match": response.headers["etag"]}
            self._ask(what, item, path, asked, decode, tag)

    def _ask(
        self,
        what: str,
        item: str,
        path: str,
        asked: str | None,
        decode: Decode,
        headers: Mapping[str, str],
    ) -> httpx.Response:
        started = time.time()
        response = self._get(path, headers=headers)
        ended = time.time()
        values, fault = frozenset[int](), ""
        if response.status_code == 200:
            try:
                values = decode(response)
            except Exception as error:  # noqa: BLE001  # whatever cannot be read is a fault
                fault = f"{error!r} {response.content[:200]!r}"
        elif response.status_code >= 400:
            fault = response.text[:300] if response.status_code not in (404, 410) else ""
        version = _version(response)
        if version is not None:
            self._remember(item, version)
        self._add(Observed(what, item, started, ended, response.status_code, asked, version,
                           values, fault))  # fmt: skip
        return response

    def _record_document(
        self, what: str, item: str, started: float, status: int, document: Any, fault: str
    ) -> None:
        versions, values = set(), frozenset[int]()
        if document is not None:
            hrefs = [link["href"] for link in document["links"]]
            hrefs += [asset["href"] for asset in document["assets"].values()]
            versions = {href.partition("?v=")[2] for href in hrefs if "?v=" in href}
            values = _value_of_document(document)
        for version in versions:
            self._remember(item, version)
        self._add(
            Observed(what, item, started, time.time(), status, None,
                     next(iter(versions), None), values,
                     "several versions" if len(versions) > 1 else fault[:300])
        )  # fmt: skip

    def _get(self, path: str, method: str = "GET", **rest: Any) -> httpx.Response:
        """Send a request. A request without an answer has the status 599, which is a fault."""
        try:
            return self._client.request(method, path, **rest)
        except httpx.HTTPError as error:
            return httpx.Response(599, text=repr(error))

    def _add(self, observed: Observed) -> None:
        self.observed.append(observed)

    def _remember(self, item: str, version: str) -> None:
        if version not in self._seen[item]:
            self._seen[item].append(version)

    def _some_version(self, item: str) -> str | None:
        seen = self._seen[item]
        draw = self._random.random()
        if not seen or draw < 0.5:
            return None
        return seen[-1] if draw < 0.85 else self._random.choice(seen)


_RASTER_ROUTES = [
    LoadReader.stac_item,
    LoadReader.search,
    LoadReader.map_tile,
    LoadReader.map_tile,
    LoadReader.value_tile,
    LoadReader.native_tile,
    LoadReader.preview,
    LoadReader.point,
    LoadReader.statistics,
    LoadReader.download,
]
_VECTOR_ROUTES = [
    LoadReader.stac_item,
    LoadReader.search,
    LoadReader.rows,
    LoadReader.filtered_rows,
    LoadReader.row,
    LoadReader.walk,
    LoadReader.walk,
    LoadReader.vector_tile,
    LoadReader.vector_tile,
    LoadReader.download,
]
_PARQUET = "application/vnd.apache.parquet"


def faults_of(observed: list[Observed], history: History) -> list[str]:
    """Return what the answers must not be."""
    found = []
    for each in observed:
        reason = each.fault or _fault_of(each, history)
        if reason:
            found.append(f"{reason}: {each}")
    return found


def _fault_of(each: Observed, history: History) -> str:
    during = (each.item, each.started, each.ended)
    if each.status in (404, 410):
        if each.asked is not None:
            is_live = history.is_sure(each.item, each.asked, each.started, each.ended)
            return "a current version is refused" if is_live else ""
        if each.status == 410:
            return "410 without a version"
        return "" if None in history.possible(*during) else "a published item is not there"
    if each.status not in (200, 206, 304):
        return "status"
    if each.version is None:
        return "no version"
    if len(each.values) > 1:
        return "versions are mixed"
    if each.values and each.values != {history.value_of(each.item, each.version)}:
        return "the content is another version's"
    if each.asked is None:
        return "" if each.version in history.possible(*during) else "not the published version"
    if each.version != each.asked:
        return "another version than the address names"
    is_kept = history.is_remembered(each.item, each.asked, each.started, each.ended)
    return "" if is_kept else "a version that is long gone"


def _version(response: httpx.Response) -> str | None:
    tag = response.headers.get("etag", "")
    return tag.strip('"')[:16] or None


def _tile(zoom: int) -> str:
    longitude, latitude = PLACE
    column = int((longitude + 0.01 + 180) / 360 * 2**zoom)
    northing = math.asinh(math.tan(math.radians(latitude + 0.01)))
    return f"{zoom}/{column}/{int((1 - northing / math.pi) / 2 * 2**zoom)}"


def _raster_path(item: str) -> str:
    collection, item_id = item.split("/")
    return f"/raster/collections/{collection}/items/{item_id}"


def _tile_path(item: str, grid: str) -> str:
    return f"{_raster_path(item)}/tiles/{grid}"


def _features_path(item: str) -> str:
    return "/features/collections/" + item.replace("/", ":")


def _png(response: httpx.Response) -> frozenset[int]:
    with MemoryFile(response.content) as memory, memory.open() as picture:
        pixels = picture.read()
    return _of_pixels(pixels[:3], pixels[3] > 0 if len(pixels) == 4 else None)


def _npy(response: httpx.Response) -> frozenset[int]:
    pixels = np.load(io.BytesIO(response.content))
    return _of_pixels(pixels[:3], pixels[3] != 0)


def _of_pixels(bands: NDArray[Any], valid: NDArray[np.bool_] | None) -> frozenset[int]:
    colours = bands.reshape(3, -1)
    if valid is not None:
        colours = colours[:, valid.reshape(-1)]
    return frozenset(_value_of_colour(each) for each in np.unique(colours, axis=1).T.tolist())


def _colours(pixels: list[Mapping[str, Any]]) -> frozenset[int]:
    return frozenset(_value_of_colour(list(each.values())) for each in pixels)


def _value_of_colour(colour: list[Any]) -> int:
    """Return the value with this colour, or -1 if there is none: bands of several versions."""
    value = int(colour[0])
    return value if tuple(map(int, colour)) == colour_of(value) else -1


def _all_rows(response: httpx.Response) -> frozenset[int]:
    features = response.json()["features"]
    values = frozenset(each["properties"]["v"] for each in features)
    assert len(features) == rows_of(max(values)), f"{len(features)} rows of {values}"
    return values


def _csv_rows(response: httpx.Response) -> frozenset[int]:
    head, *lines = response.text.splitlines()
    assert lines, "no rows"
    return frozenset(int(line.split(",")[head.split(",").index("v")]) for line in lines)


def _value_of_document(document: Mapping[str, Any]) -> frozenset[int]:
    if document["collection"] == "vectors":
        return frozenset({document["properties"]["table:row_count"] - TABLE_ROWS})
    text = json.dumps(document["assets"]["data"]["bands"])
    return frozenset({round(band["statistics"]["mean"]) for band in json.loads(text)[:1]})


def _of_file(content: bytes) -> tuple[frozenset[int], str]:
    """Return the values in a COG or a GeoParquet file, and what is wrong with it."""
    try:
        if content[:4] == b"PAR1":
            values = pq.read_table(io.BytesIO(content), columns=["v"])["v"].to_pylist()
            assert len(values) == rows_of(values[0]), f"{len(values)} rows"
            return frozenset(values), ""
        with MemoryFile(content) as memory, memory.open() as cog:
            return _of_pixels(cog.read(), None), ""
    except (AssertionError, OSError, rasterio.errors.RasterioError) as error:
        return frozenset(), f"the file cannot be read: {error}"
