"""Draw the tiles of low zooms once, keep them in a PMTiles archive, and read them from it.

In a low zoom of a large table most rows lie in each tile, so that a tile takes seconds. Those tiles
are drawn after the item is published, and stored beside the thumbnail of the item. They have the
content that a request without parameters gets, so a reader sees no difference but the time.

An archive is in a folder that is named after the fingerprint of the rows. It is removed with this
folder when no item refers to it any more (`catalog/retention.py`), and found again after a
rollback.

Source: PMTiles Version 3 Specification, https://github.com/protomaps/PMTiles

Used by `api`, `assets`, `orchestrator` and `web/page`.
"""

import gzip
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from geo_platform.catalog.retention import folder_of
from geo_platform.chains.chain import Place
from geo_platform.contracts.publication import KeptArchive, TilesKept
from geo_platform.errors import Conflict, SourceNotFound, VersionGone
from geo_platform.ports import (
    ASSET_CONTAINER,
    ASSET_KEY,
    ITEM_FINGERPRINT,
    Catalog,
    ObjectStore,
    stat_or_none,
)
from geo_platform.serving.features.collections import (
    FeatureCollection,
    TableSource,
    collections_of,
)
from geo_platform.serving.features.fragments import select
from geo_platform.serving.features.mercator import HALF_TURN_M
from geo_platform.serving.features.opened import FeatureReader, OpenFeatures
from geo_platform.serving.features.positions import to_mercator
from geo_platform.serving.features.query import read_parameters
from geo_platform.serving.features.tile_documents import vector_layers
from geo_platform.serving.features.tiles import (
    TileAccount,
    TileAddress,
    VectorTile,
    draw_tile,
)
from geo_platform.serving.published import SERVING_RECIPE, PublishedItem, version_of

if TYPE_CHECKING:
    from pmtiles.reader import Reader

# Smaller collections get no archive: a tile of theirs is drawn in less than a second.
LARGE_COLLECTION_ROWS = 10_000
# Tiles with fewer rows are drawn when they are asked for, in about a quarter of a second.
KEPT_FROM_ROWS = 1_000
# Whole zooms are kept, as long as they have together at most this many tiles.
MAX_TILES = 1_000
DEEPEST_KEPT = 12
# How long a server remembers that there is no archive yet, and how many archives it remembers.
_ASK_AGAIN_S = 5.0
_MAX_REMEMBERED = 200
_ACCOUNTS = "geo_platform:accounts"


def is_large(item: PublishedItem) -> bool:
    """Return whether an item has a feature collection of so many rows that tiles are kept."""
    return any(each.rows >= LARGE_COLLECTION_ROWS for each in collections_of(item))


def archive_place(collection: FeatureCollection, max_bytes: int) -> tuple[str, str] | None:
    """Return (container, key) of the archive of a collection; None if it cannot have one.

    `max_bytes` is the most that a tile may have: tiles of another size have another archive.
    """
    thumbnail = collection.item.document["assets"].get("thumbnail", {})
    folder = folder_of(str(thumbnail.get(ASSET_KEY, "")))
    if folder is None:
        return None
    drawn_as = json.dumps([collection.id, _content_of(collection), max_bytes, SERVING_RECIPE])
    name = hashlib.sha256(drawn_as.encode()).hexdigest()[:16]
    return str(thumbnail[ASSET_CONTAINER]), f"{folder}/tiles-{name}.pmtiles"


def _content_of(collection: FeatureCollection) -> str:
    """Return what names the rows: several tables may have been loaded from one source."""
    source = collection.source
    if isinstance(source, TableSource):
        return source.version
    assets = collection.item.document["assets"].values()
    asset = next(each for each in assets if each.get(ASSET_KEY) == source.key)
    return str(asset.get("file:checksum", source.key))


def keep_tiles_of(
    place: Place,
    catalog: Catalog,
    reader: FeatureReader,
    objects: ObjectStore,
    scratch: Path,
    *,
    max_bytes: int,
    notify: Callable[[str], None],
) -> TilesKept:
    """Keep the tiles of the feature collections of an item, in its present version.

    An item that was unpublished, or is replaced meanwhile, gets no more archives.
    Raises what `keep_tiles` and `Catalog.item` raise, except VersionGone.
    """
    collection_id, item_id = place
    document = catalog.item(collection_id, item_id)
    if document is None:
        notify("the item is not published any more")
        return TilesKept(collection=collection_id, item_id=item_id, archives=(), fingerprint="")
    item = PublishedItem(collection_id, item_id, version_of(document), document)
    archives = []
    try:
        for each in collections_of(item):
            archives.append(
                keep_tiles(each, reader, objects, scratch, max_bytes=max_bytes, notify=notify)
            )
    except VersionGone as error:
        # The publication of the new version has a run of its own.
        notify(error.message)
    return TilesKept(
        collection=collection_id,
        item_id=item_id,
        archives=tuple(archives),
        fingerprint=str(item.properties.get(ITEM_FINGERPRINT, "")),
    )


def keep_tiles(
    collection: FeatureCollection,
    reader: FeatureReader,
    objects: ObjectStore,
    scratch: Path,
    *,
    max_bytes: int,
    notify: Callable[[str], None],
) -> KeptArchive:
    """Draw the tiles of low zooms of a collection, and store them.

    A collection without tiles of many rows gets no archive. An archive that is there is left as it
    is: its content would be the same.
    Raises VersionGone: the item was replaced meanwhile. What `FeatureReader.open` and
    `ObjectStore.put_file` raise.
    """
    place = archive_place(collection, max_bytes)
    if place is None or collection.rows < LARGE_COLLECTION_ROWS:
        return KeptArchive(feature_collection=collection.id, stored=None, tiles=0)
    stored = stat_or_none(objects, *place)
    if stored is not None:
        return KeptArchive(
            feature_collection=collection.id,
            stored=stored.reference,
            tiles=int(stored.metadata.get("tiles", 0)),
        )
    with reader.open(collection) as opened:
        planned = plan_tiles(tile_counts(collection, opened))
        columns = opened.layout.columns
    if not planned:
        return KeptArchive(feature_collection=collection.id, stored=None, tiles=0)
    notify(f"drawing {len(planned):,} tiles of zooms 0 to {planned[-1].z}")
    path = scratch / "tiles.pmtiles"
    metadata = {
        "name": collection.title,
        "vector_layers": vector_layers(collection, columns, deepest=planned[-1].z),
    }
    _write(path, _drawn(collection, reader, planned, max_bytes, notify), metadata)
    stored = objects.put_file(*place, path, metadata={"tiles": str(len(planned))}, move=True)
    return KeptArchive(
        feature_collection=collection.id, stored=stored.reference, tiles=len(planned)
    )


def tile_counts(collection: FeatureCollection, opened: OpenFeatures) -> dict[TileAddress, int]:
    """Count the rows of each tile of the zoom DEEPEST_KEPT by the middles of their boxes.

    Raises what `OpenFeatures.rows` raises.
    """
    side = 2**DEEPEST_KEPT
    counts: dict[int, int] = {}
    for chunk in opened.rows(select(list(opened.centre()), opened.relation, [])):
        places = np.array([row for row in chunk if None not in row], dtype=np.float64)
        moved = to_mercator(np.array(shapely.points(places.reshape(-1, 2))), collection)
        xy = shapely.get_coordinates(moved)
        xy = xy[np.isfinite(xy).all(axis=1)]
        column = np.floor((xy[:, 0] + HALF_TURN_M) / (2 * HALF_TURN_M) * side)
        row = np.floor((HALF_TURN_M - xy[:, 1]) / (2 * HALF_TURN_M) * side)
        is_inside = (row >= 0) & (row < side)
        numbers = (row * side + column % side)[is_inside].astype(np.int64)
        for number, count in zip(*np.unique(numbers, return_counts=True), strict=True):
            counts[int(number)] = counts.get(int(number), 0) + int(count)
    return {
        TileAddress(DEEPEST_KEPT, number % side, number // side): count
        for number, count in counts.items()
    }


def plan_tiles(deepest: dict[TileAddress, int]) -> list[TileAddress]:
    """Return the tiles to keep, by zoom: those with many rows, of the lowest zooms.

    `deepest` has the rows of each tile of one zoom, the deepest that may be kept.
    """
    zooms = [deepest]
    while zooms[-1] and next(iter(zooms[-1])).z > 0:
        above: dict[TileAddress, int] = {}
        for tile, rows in zooms[-1].items():
            parent = TileAddress(tile.z - 1, tile.x // 2, tile.y // 2)
            above[parent] = above.get(parent, 0) + rows
        zooms.append(above)
    planned: list[TileAddress] = []
    for counts in reversed(zooms):
        crowded = [tile for tile, rows in counts.items() if rows >= KEPT_FROM_ROWS]
        if len(planned) + len(crowded) > MAX_TILES:
            break
        planned += sorted(crowded, key=lambda tile: (tile.x, tile.y))
    return planned


def _drawn(
    collection: FeatureCollection,
    reader: FeatureReader,
    planned: list[TileAddress],
    max_bytes: int,
    notify: Callable[[str], None],
) -> Iterator[tuple[TileAddress, VectorTile]]:
    everything = read_parameters([], collection, max_limit=1, known=())
    told = time.monotonic()
    for number, address in enumerate(planned, start=1):
        with reader.open(collection) as opened:
            yield address, draw_tile(collection, opened, address, everything, max_bytes=max_bytes)
        if time.monotonic() - told > 10:
            told = time.monotonic()
            notify(f"{number:,} of {len(planned):,} tiles drawn, zoom {address.z}")


def _write(
    path: Path, tiles: Iterator[tuple[TileAddress, VectorTile]], metadata: dict[str, Any]
) -> None:
    from pmtiles.tile import zxy_to_tileid
    from pmtiles.writer import write

    accounts = {}
    with write(str(path)) as writer:
        for address, tile in tiles:
            accounts[_name(address)] = [tile.account.rows, tile.account.drawn, tile.account.merged]
            compressed = gzip.compress(tile.content, compresslevel=6, mtime=0)
            writer.write_tile(zxy_to_tileid(address.z, address.x, address.y), compressed)
        writer.finalize(archive_header(), {**metadata, _ACCOUNTS: accounts})


def archive_header() -> dict[str, Any]:
    """Return the header of an archive of compressed vector tiles of the whole map."""
    from pmtiles.tile import Compression, TileType

    return {
        "tile_type": TileType.MVT, "tile_compression": Compression.GZIP,
        "min_lon_e7": -1_800_000_000, "min_lat_e7": -850_511_287,
        "max_lon_e7": 1_800_000_000, "max_lat_e7": 850_511_287,
        "center_zoom": 0, "center_lon_e7": 0, "center_lat_e7": 0,
    }  # fmt: skip


def _name(address: TileAddress) -> str:
    return f"{address.z}/{address.x}/{address.y}"


@dataclass(frozen=True)
class _Archive:
    """An archive of one etag. `reader` fetches only tiles: the rest is in memory."""

    etag: str
    reader: "Reader"
    accounts: dict[str, list[int]]

    def tile(self, address: TileAddress) -> VectorTile | None:
        account = self.accounts.get(_name(address))
        if account is None:
            return None
        compressed = self.reader.get(address.z, address.x, address.y)
        rows, drawn, merged = account
        return VectorTile(gzip.decompress(compressed), TileAccount(rows, drawn, merged))


@dataclass
class KeptTiles:
    """Reads kept tiles. Safe among threads."""

    objects: ObjectStore
    max_bytes: int
    _archives: dict[tuple[str, str], tuple[float, _Archive | None]] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def tile(self, collection: FeatureCollection, address: TileAddress) -> VectorTile | None:
        """Return the kept tile of a collection, or None if it is not kept.

        Raises StoreUnavailable, StoreDenied: the object store does not answer or refuses access.
        """
        if address.z > DEEPEST_KEPT or collection.rows < LARGE_COLLECTION_ROWS:
            return None
        place = archive_place(collection, self.max_bytes)
        if place is None:
            return None
        for _ in range(2):
            archive = self._archive(place)
            if archive is None:
                return None
            try:
                return archive.tile(address)
            except (SourceNotFound, Conflict):
                # Removed or stored again since its directory was read.
                with self._lock:
                    self._archives.pop(place, None)
        return None

    def _archive(self, place: tuple[str, str]) -> _Archive | None:
        with self._lock:
            until, archive = self._archives.get(place, (0.0, None))
        if archive is not None or time.monotonic() < until:
            return archive
        archive = _open(self.objects, place)
        with self._lock:
            if len(self._archives) >= _MAX_REMEMBERED:
                self._archives.clear()
            self._archives[place] = (time.monotonic() + _ASK_AGAIN_S, archive)
        return archive


def _open(objects: ObjectStore, place: tuple[str, str]) -> _Archive | None:
    """Read header, directories and metadata of an archive; None if it is not there."""
    from pmtiles.reader import Reader
    from pmtiles.tile import deserialize_header

    stored = stat_or_none(objects, *place)
    if stored is None:
        return None
    etag = stored.reference.etag

    def fetched(offset: int, length: int) -> bytes:
        with objects.open(*place, etag=etag) as opened:
            opened.seek(offset)
            return opened.read(length)

    header = deserialize_header(fetched(0, 127))
    head = fetched(0, header["tile_data_offset"])

    def bytes_at(offset: int, length: int) -> bytes:
        if offset + length <= len(head):
            return head[offset : offset + length]
        return fetched(offset, length)

    reader = Reader(bytes_at)
    return _Archive(etag, reader, reader.metadata()[_ACCOUNTS])
