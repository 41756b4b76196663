"""Quarantine with a real daemon: a broken file in a watched folder, and its release."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any

import pytest

from geo_platform.cli.application import INSTANCE_TEMPLATES
from geo_platform.ports import BRONZE, QUARANTINE
from geo_platform.settings import Profile
from geo_platform.storage.local.folder import FolderStore
from tests.support.command import ROOT, geo_platform
from tests.support.memory_objects import contents
from tests.support.own_dagster import CODE, DAEMON, own_dagster

KEY = "wells.geojson"
BROKEN = b'{"type": "FeatureCollection", "features": []}'
MENDED = json.dumps(
    {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "properties": {"depth_m": 12.5},
                "geometry": {"type": "Point", "coordinates": [8.5, 47.4]},
            }
        ],
    }
).encode()


def _wait_for(found: Callable[[], Any], timeout_s: float = 120) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := found()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)
    return value


@pytest.mark.slow
def test_a_broken_file_in_a_watched_folder_is_quarantined_and_runs_again_after_release(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    (home / "logs").mkdir(parents=True)
    store = FolderStore(home / "store")
    template = Template((ROOT / INSTANCE_TEMPLATES[Profile.embedded]).read_text("utf-8"))
    configuration = template.substitute(LOG_FILE=home / "logs" / "platform.jsonl")

    def command_json(*arguments: str) -> Any:
        return json.loads(geo_platform(*arguments, "--json", home=home).stdout)

    def refused_by_a_run_other_than(run_id: str) -> Any:
        return [row for row in command_json("quarantine", "list") if row["run_id"] != run_id]

    with own_dagster(
        home / "dagster", configuration, {"GEO_PLATFORM_HOME": str(home), "HOME": str(home)}
    ) as own:
        own.start(CODE, DAEMON)
        store.put_bytes(BRONZE, KEY, BROKEN, metadata={})
        (first,) = _wait_for(lambda: refused_by_a_run_other_than(""))
        assert (first["key"], first["code"], contents(store, BRONZE)) == (KEY, "NO_FEATURES", {})
        released = geo_platform("quarantine", "release", KEY, home=home)
        assert released.stdout.startswith(f"{KEY} is back in bronze")
        (second,) = _wait_for(lambda: refused_by_a_run_other_than(first["run_id"]))
        assert (second["code"], second["etag"] != first["etag"], contents(store, BRONZE)) == (
            "NO_FEATURES",
            True,
            {},
        )

        store.put_bytes(QUARANTINE, KEY, MENDED, metadata={})
        assert geo_platform("quarantine", "release", "--all", home=home).exit_code == 0
        (item,) = _wait_for(lambda: command_json("list"))
        assert (item["source"], command_json("quarantine", "list"), contents(store, BRONZE)) == (
            KEY,
            [],
            {KEY: MENDED},
        )
