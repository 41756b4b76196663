"""Run as a program by the tests: writers that are killed at each audited file operation in turn.

Each attempt is a forked process that sends itself SIGKILL just before its n-th file operation (PEP
578 audit events), for every n until the work completes. After each kill a new process checks the
store, and the work is repeated. Prints the number of kills.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from geo_platform.ports import ItemVersion
from geo_platform.storage.local.folder import FolderStore
from geo_platform.storage.local.stac_files import StacFiles

FILE_OPERATIONS = {
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.utime",
    "fcntl.flock",
    "os.truncate",
}


def killed_at(operation: int, work: Callable[[], object]) -> bool:
    """Do the work in a fork that kills itself before its n-th file operation; True if it did."""
    child = os.fork()
    if child == 0:
        seen = 0

        def count(event: str, _: tuple[Any, ...]) -> None:
            nonlocal seen
            if event in FILE_OPERATIONS:
                seen += 1
                if seen == operation:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        work()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the work failed instead of dying"
    return os.WIFSIGNALED(status)


def kills_of_put(root: Path, *, move: bool) -> int:
    old, new = b"old" * 1000, b"new" * 2000
    made = root.parent / "made"
    kills = 0
    while True:
        shutil.rmtree(root, ignore_errors=True)
        FolderStore(root).put_bytes("silver", "a/b.bin", old, metadata={"version": "old"})
        made.write_bytes(new)

        def put() -> object:
            return FolderStore(root).put_file(
                "silver", "a/b.bin", made, metadata={"version": "new"}, move=move
            )

        if not killed_at(kills + 1, put):
            return kills
        kills += 1
        (listed,) = FolderStore(root).list("silver")
        content = FolderStore(root).read_bytes("silver", listed.reference.key)
        assert (content, dict(listed.metadata)) in [
            (old, {"version": "old"}),
            (new, {"version": "new"}),
        ], kills
        made.write_bytes(new)
        put()
        (listed,) = FolderStore(root).list("silver")
        assert dict(listed.metadata) == {"version": "new"}
        assert list((root / ".incoming").iterdir()) == [], "leftovers of killed writers are removed"


def kills_of_move(root: Path) -> int:
    """Check that the object is in one of the containers, with the metadata that it has there."""
    kills = 0
    while True:
        shutil.rmtree(root, ignore_errors=True)
        FolderStore(root).put_bytes(
            "quarantine", "a/b.bin", b"earlier", metadata={"at": "an earlier time"}
        )
        FolderStore(root).put_bytes("bronze", "a/b.bin", b"bytes", metadata={"at": "bronze"})

        def move() -> object:
            store = FolderStore(root)
            return [
                store.move(
                    "bronze",
                    stored.reference.key,
                    "quarantine",
                    etag=stored.reference.etag,
                    metadata={"at": "quarantine"},
                )
                for stored in list(store.list("bronze"))
            ]

        if not killed_at(kills + 1, move):
            return kills
        kills += 1
        for attempt in (lambda: None, move):
            attempt()
            there = [
                (
                    container,
                    FolderStore(root).read_bytes(container, stored.reference.key),
                    dict(stored.metadata),
                )
                for container in ("bronze", "quarantine")
                for stored in FolderStore(root).list(container)
            ]
            moved = [("quarantine", b"bytes", {"at": "quarantine"})]
            unmoved = [
                ("bronze", b"bytes", {"at": "bronze"}),
                ("quarantine", b"earlier", {"at": "an earlier time"}),
            ]
            assert there in (moved, unmoved), (kills, there)
        assert there == moved


def item(version: str, west: float) -> dict[str, Any]:
    properties = {
        "datetime": f"2020-01-0{version[-1]}T00:00:00Z",
        "updated": "2026-01-01T00:00:00Z",
        "geo_platform:source": "a.tif",
        "geo_platform:fingerprint": version,
        "geo_platform:run_id": f"run of {version}",
    }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": "scene",
        "collection": "rasters",
        "geometry": {"type": "Point", "coordinates": [west, 0.0]},
        "bbox": [west, 0.0, west + 1, 1.0],
        "properties": properties,
        "links": [],
        "assets": {},
    }


COLLECTION = {
    "type": "Collection",
    "stac_version": "1.1.0",
    "id": "rasters",
    "description": "rasters",
    "license": "other",
    "extent": {},
    "links": [],
}


def kills_of_publish(root: Path, *, first_version: bool) -> int:
    kills = 0
    wanted = item("v2", 50.0)
    while True:
        shutil.rmtree(root, ignore_errors=True)
        if not first_version:
            StacFiles(root).publish(COLLECTION, item("v1", 0.0), replaces=None)

        def publish() -> object:
            present = StacFiles(root).item("rasters", "scene")
            return StacFiles(root).publish(
                COLLECTION,
                wanted,
                replaces=present["properties"]["geo_platform:fingerprint"] if present else None,
            )

        if not killed_at(kills + 1, publish):
            return kills
        kills += 1
        before = [] if first_version else ["v1"]
        listed = list(StacFiles(root).entries())
        assert [entry.fingerprint for entry in listed] in [before, ["v2"]], kills
        found = StacFiles(root).item("rasters", "scene")
        assert (found is not None) == bool(listed)
        if found is not None:
            check_collection(root, found)
        publish()
        found = StacFiles(root).item("rasters", "scene")
        assert found is not None
        assert found["properties"]["geo_platform:fingerprint"] == "v2"
        check_collection(root, found)


def kills_of_unpublish(root: Path) -> int:
    """Check that the item is published or kept, and that looking it up repaired everything."""
    kills = 0
    while True:
        _published_twice(root)

        def unpublish() -> object:
            if StacFiles(root).item("rasters", "scene") is None:
                return None
            return StacFiles(root).unpublish("rasters", "scene", published="v2")

        if not killed_at(kills + 1, unpublish):
            return kills
        kills += 1
        for attempt in (lambda: None, unpublish):
            attempt()
            found, versions = StacFiles(root).item("rasters", "scene"), kept(root)
            assert versions == (["v1"] if found else ["v2", "v1"]), kills
            assert [entry.fingerprint for entry in StacFiles(root).entries()] == (
                ["v2"] if found else []
            )
            collection = json.loads((root / "catalog" / "rasters" / "collection.json").read_text())
            assert collection["extent"]["spatial"]["bbox"] == [
                found["bbox"] if found else [-180, -90, 180, 90]
            ]
            check_links(root)
        assert StacFiles(root).item("rasters", "scene") is None


def kills_of_restore(root: Path, *, after_unpublishing: bool) -> int:
    kills = 0
    while True:
        _published_twice(root)
        if after_unpublishing:
            StacFiles(root).unpublish("rasters", "scene", published="v2")
        before = None if after_unpublishing else "v2"
        version = next(found for found in StacFiles(root).versions() if found.fingerprint == "v1")
        wanted = {
            **version.item,
            "properties": {
                **version.item["properties"],
                "geo_platform:restored_by_run": "a later run",
            },
        }

        def restore(wanted: dict[str, Any] = wanted) -> object:
            present = StacFiles(root).item("rasters", "scene")
            replaces = present["properties"]["geo_platform:fingerprint"] if present else None
            return StacFiles(root).publish(COLLECTION, wanted, replaces=replaces)

        if not killed_at(kills + 1, restore):
            return kills
        kills += 1
        for attempt, wants in ((lambda: None, [before, "v1"]), (restore, ["v1"])):
            attempt()
            found = StacFiles(root).item("rasters", "scene")
            published = found["properties"]["geo_platform:fingerprint"] if found else None
            assert published in wants, kills
            assert set(kept(root)) == {"v1", "v2"} - {published}
            check_links(root)


def kills_of_forget(root: Path) -> int:
    kills = 0
    while True:
        _published_twice(root)
        StacFiles(root).publish(COLLECTION, item("v3", 60.0), replaces="v2")
        version = next(found for found in StacFiles(root).versions() if found.fingerprint == "v1")

        def forget(version: ItemVersion = version) -> object:
            return StacFiles(root).forget(version) if "v1" in kept(root) else None

        if not killed_at(kills + 1, forget):
            return kills
        kills += 1
        check_links(root)
        forget()
        assert kept(root) == ["v2"]
        assert [entry.fingerprint for entry in StacFiles(root).entries()] == ["v3"]
        check_links(root)


def _published_twice(root: Path) -> None:
    # Made once, then copied.
    made = root.parent / "published twice"
    if not made.exists():
        StacFiles(made).publish(COLLECTION, item("v1", 0.0), replaces=None)
        StacFiles(made).publish(COLLECTION, item("v2", 50.0), replaces="v1")
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(made, root)


def kept(root: Path) -> list[str]:
    return [version.fingerprint for version in StacFiles(root).versions()]


def check_links(root: Path) -> None:
    for path in (root / "catalog").rglob("*.json"):
        for link in json.loads(path.read_text())["links"]:
            assert (path.parent / link["href"]).is_file(), (path, link)


def check_collection(root: Path, found: dict[str, Any]) -> None:
    """Check that looking the item up has repaired links and extent."""
    collection = json.loads((root / "catalog" / "rasters" / "collection.json").read_text())
    assert collection["extent"]["spatial"]["bbox"] == [found["bbox"]]
    assert [link["href"] for link in collection["links"] if link["rel"] == "item"] == [
        "./scene/scene.json"
    ]
    catalog = json.loads((root / "catalog" / "catalog.json").read_text())
    assert [link["href"] for link in catalog["links"] if link["rel"] == "child"] == [
        "./rasters/collection.json"
    ]
    archived = [link["href"] for link in found["links"] if link["rel"] == "predecessor-version"]
    assert all(Path(href.removeprefix("file://")).is_file() for href in archived)


if __name__ == "__main__":
    place = Path(sys.argv[2]) / "root"
    modes = {
        "put by copy": lambda: kills_of_put(place, move=False),
        "put by move": lambda: kills_of_put(place, move=True),
        "move to another container": lambda: kills_of_move(place),
        "first publish": lambda: kills_of_publish(place, first_version=True),
        "publish again": lambda: kills_of_publish(place, first_version=False),
        "unpublish": lambda: kills_of_unpublish(place),
        "restore": lambda: kills_of_restore(place, after_unpublishing=False),
        "restore an unpublished item": lambda: kills_of_restore(place, after_unpublishing=True),
        "forget": lambda: kills_of_forget(place),
    }
    sys.stdout.write(str(modes[sys.argv[1]]()))
