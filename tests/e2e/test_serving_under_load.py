"""Two writers change items while eight readers read them: no answer mixes versions, none fails.

The real commands, the real server and HTTP, on both profiles. GEO_PLATFORM_TESTS_LOAD_SECONDS makes
it longer than a minute.
"""

import logging
import os
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from deploy.local.processes import free_port
from geo_platform.api.auth.keys import KeyFile
from geo_platform.api.auth.principal import Scope
from geo_platform.settings import Profile
from tests.support.command import start
from tests.support.load_readers import LoadReader, faults_of
from tests.support.production import ProfileUnderTest
from tests.support.rewriting import History, raster_item, read_changes, vector_item

SECONDS = float(os.environ.get("GEO_PLATFORM_TESTS_LOAD_SECONDS", "60"))
WRITERS, READERS = 2, 8
_log = logging.getLogger(__name__)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]


def _until_served(address: str, items: list[str], key: str, logs: list[Path]) -> None:
    """Wait until all items are published."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            answer = httpx.get(
                f"{address}/stac/search", headers={"X-Api-Key": key}, trust_env=False
            )
            if answer.status_code == 200 and len(answer.json()["features"]) == len(items):
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError("\n".join(log.read_text("utf-8")[-3000:] for log in logs))


def test_no_answer_mixes_versions_or_fails_while_items_are_replaced(
    profile: ProfileUnderTest, tmp_path: Path
) -> None:
    home, port = tmp_path / "home", free_port()
    home.mkdir()
    stop = tmp_path / "stop"
    key = KeyFile(profile.settings(home).api_keys_file).create("reader", Scope.reader)
    many = {f"GEO_PLATFORM_API_{name}_PER_MINUTE": "1000000" for name in ("READS", "ADDRESS_READS")}
    items = [name(number) for number in range(WRITERS) for name in (raster_item, vector_item)]
    geo_platform = str(Path(sys.executable).with_name("geo-platform"))
    commands = {"serve": [geo_platform, "serve", "--port", str(port)]} | {
        f"writer_{number}": [
            sys.executable, "-m", "tests.support.rewriting", str(number), str(stop),
            str(tmp_path / f"writer_{number}.jsonl"),
        ]
        for number in range(WRITERS)
    }  # fmt: skip
    logs = {name: tmp_path / f"{name}.log" for name in commands}
    processes = {}
    try:
        for name, command in commands.items():
            with logs[name].open("wb") as log:
                processes[name] = start(command, home, log, extra={**profile.environment, **many})
        address = f"http://127.0.0.1:{port}"
        _until_served(address, items, key, list(logs.values()))
        ends = time.time() + SECONDS
        with ThreadPoolExecutor(READERS) as pool:
            readers = [LoadReader(address, key, items, tmp_path, seed) for seed in range(READERS)]
            reading = [pool.submit(reader.read_until, ends) for reader in readers]
            observed = [each for one in reading for each in one.result()]
        stop.touch()
        for number in range(WRITERS):
            assert processes[f"writer_{number}"].wait(120) == 0, logs[f"writer_{number}"].read_text(
                "utf-8"
            )
    finally:
        for process in processes.values():
            process.kill()
            process.wait(10)
    changes = [
        change
        for number in range(WRITERS)
        for change in read_changes(tmp_path / f"writer_{number}.jsonl")
    ]
    done = Counter(change.operation for change in changes)
    _log.info("%s %s", dict(done), sorted(Counter((e.what, e.status) for e in observed).items()))
    for what in sorted({e.what for e in observed}):
        lasted = sorted(e.ended - e.started for e in observed if e.what == what)
        _log.info("%s: %.3f s, at most %.3f s", what, lasted[len(lasted) // 2], lasted[-1])
    faults = faults_of(observed, History(changes))
    assert not faults, f"{len(faults)} of {len(observed)}:\n" + "\n".join(faults[:20])
    assert "Traceback" not in logs["serve"].read_text("utf-8")
    assert min(done[each] for each in ("replace", "roll back", "roll back to", "unpublish")) >= 2
    read = Counter(each.what for each in observed if each.values)
    routes = {
        "item", "search", "tile", "values", "native", "preview", "point", "statistics", "rows",
        "bbox", "row", "walk", "mvt", "download",
    }  # fmt: skip
    assert set(read) >= routes, read
    assert {each.status for each in observed} >= {200, 206, 304, 404, 410}
    if profile.profile is Profile.embedded:
        assert any(each.what == "download" and "vectors" in each.item for each in observed)
