"""Publish, restore and withdraw items again and again in a process of its own, and record it.

    python -m tests.support.rewriting NUMBER STOP LOG

The version of an item with the value k has the colour `colour_of(k)` in every pixel, or k in the
column `v` of each of its `rows_of(k)` rows. LOG has a `Change` as JSON on each line. The process
ends when the file STOP exists. The home and the stores are those of the environment.
"""

import json
import os
import random
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from geo_platform.ports import ITEM_RUN_ID, Catalog
from geo_platform.serving.published import REMEMBERED_S, version_of
from geo_platform.settings import Profile, load_settings
from geo_platform.storage.stores import open_catalog
from tests.support.in_process import Give, commands
from tests.support.production import ProfileUnderTest

VALUES = 200
PLACE = (13.5, 46.9)
_ROWS = 40


def colour_of(value: int) -> tuple[int, int, int]:
    return value, 255 - value, 100


def rows_of(value: int) -> int:
    return _ROWS + value


def raster_item(number: int) -> str:
    return f"rasters/scene_{number}"


def vector_item(number: int) -> str:
    return f"vectors/wells_{number}"


@dataclass(frozen=True)
class Change:
    """An item has another version between two times (seconds); None if it was withdrawn."""

    item: str
    operation: str
    started: float
    ended: float
    version: str | None
    value: int | None


class History:
    """What was published when, by the records of all writers."""

    def __init__(self, changes: Iterable[Change]) -> None:
        self._of_item: dict[str, list[Change]] = {}
        self._value_of: dict[tuple[str, str], int | None] = {}
        for change in sorted(changes, key=lambda each: each.started):
            self._of_item.setdefault(change.item, []).append(change)
            if change.version is not None:
                self._value_of[change.item, change.version] = change.value

    def changes(self, item: str) -> list[Change]:
        return self._of_item[item]

    def value_of(self, item: str, version: str) -> int | None:
        return self._value_of.get((item, version))

    def possible(self, item: str, started: float, ended: float) -> set[str | None]:
        """Return the versions that a request between these times may find; None for no version."""
        return {
            change.version
            for change, until in self._with_ends(item)
            if change.started <= ended and (until is None or until.ended >= started)
        }

    def is_sure(self, item: str, version: str | None, started: float, ended: float) -> bool:
        """Return whether the item had this version all the time."""
        return any(
            change.version == version
            and change.ended <= started
            and (until is None or until.started >= ended)
            for change, until in self._with_ends(item)
        )

    def is_remembered(self, item: str, version: str, started: float, ended: float) -> bool:
        """Return whether an address that names the version may still be answered."""
        return version in self.possible(item, started - REMEMBERED_S, ended)

    def _with_ends(self, item: str) -> list[tuple[Change, Change | None]]:
        changes = self._of_item[item]
        return list(zip(changes, [*changes[1:], None], strict=True))


def read_changes(log: Path) -> list[Change]:
    return [Change(**json.loads(line)) for line in log.read_text("utf-8").splitlines()]


class _Item:
    """An item that is changed."""

    def __init__(self, name: str, folder: Path, give: Give, catalog: Catalog, seed: str) -> None:
        self._name = name
        self._folder = folder
        self._give = give
        self._catalog = catalog
        self._random = random.Random(seed)  # noqa: S311  # not a secret
        self._value_of_run: dict[str, int] = {}
        self._count = 0
        self._last = "unpublish"

    def change(self) -> Change:
        choices = ["replace"] * 4 + ["roll back", "roll back to", "unpublish"]
        if self._last == "unpublish":
            choices = ["replace", "roll back", "roll back to"]
        operation = self._random.choice(choices if len(self._value_of_run) > 2 else ["replace"])
        source = self._write_next() if operation == "replace" else None
        started = time.time()
        if source is not None:
            answer = self._give("ingest", source)
            assert answer["outcome"] == "published", answer
            self._value_of_run[answer["run_id"]] = self._count % VALUES + 1
        elif operation == "unpublish":
            self._give("unpublish", self._name)
        else:
            self._give("rollback", self._name, *self._to(operation))
        ended = time.time()
        document = self._catalog.item(*self._name.split("/"))
        self._last = operation
        if document is None:
            return Change(self._name, operation, started, ended, None, None)
        value = self._value_of_run[document["properties"][ITEM_RUN_ID]]
        return Change(self._name, operation, started, ended, version_of(document), value)

    def _to(self, operation: str) -> list[str]:
        """Return the option of the rollback to some version that is not published.

        Without the option, the version before the published one is restored: there is one after a
        replacement, and after a withdrawal.
        """
        if operation == "roll back" and self._last in ("replace", "unpublish"):
            return []
        versions: list[dict[str, Any]] = self._give("versions", self._name)
        published = [each["run_id"] for each in versions if each["withdrawn_at_utc"] is None]
        runs = {each["run_id"] for each in versions} - set(published)
        return ["--to", self._random.choice(sorted(runs))]

    def _write_next(self) -> Path:
        self._count += 1
        value = self._count % VALUES + 1
        stem = self._name.split("/")[1]
        if self._name.startswith("rasters/"):
            return _write_raster(self._folder / f"{stem}.tif", value)
        return _write_rows(self._folder / f"{stem}.geojson", value)


def _write_raster(path: Path, value: int) -> Path:
    """Write a picture of 1,100 x 1,300 pixels of 10 m around PLACE."""
    pixels = np.empty((3, 1_100, 1_300), dtype=np.uint8)
    pixels[:] = np.array(colour_of(value), dtype=np.uint8)[:, None, None]
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=pixels.shape[2],
        height=pixels.shape[1],
        count=3,
        dtype="uint8",
        crs="EPSG:32633",
        transform=Affine(10, 0, 379_500, 0, -10, 5_200_500),
        photometric="RGB",
        compress="deflate",
    ) as target:
        target.write(pixels)
    return path


def _write_rows(path: Path, value: int) -> Path:
    longitude, latitude = PLACE
    features = [
        {
            "type": "Feature",
            "properties": {"v": value, "n": n},
            "geometry": {
                "type": "Point",
                "coordinates": [longitude + n % 20 / 200, latitude + n // 20 / 200],
            },
        }
        for n in range(rows_of(value))
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), "utf-8")
    return path


def main() -> None:
    number, stop, log = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    settings = load_settings()
    catalog = open_catalog(settings)
    folder = log.with_suffix("")
    folder.mkdir()
    profile = ProfileUnderTest(Profile(settings.profile), {})
    with (
        commands(profile, Path(os.environ["GEO_PLATFORM_HOME"])) as give,
        log.open("w", encoding="utf-8") as records,
    ):
        items = [
            _Item(name, folder, give, catalog, name)
            for name in (raster_item(number), vector_item(number))
        ]
        while not stop.exists():
            for item in items:
                records.write(json.dumps(asdict(item.change())) + "\n")
                records.flush()


if __name__ == "__main__":
    main()
