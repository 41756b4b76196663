"""Compare shared runs with one run per file for small GeoJSON files, two processes at a time.

Part "files" of `make bench`, with `BENCH_FILES` files on each of `BENCH_PROFILES`. A run is a
process that loads the definitions and executes its job, as a launched run does. Sensors and the
daemon do not take part: both ways need them equally. Neither does Dagster's own start of a run
process, which first asks the code location.

    python -m benchmarks.files each KEY            one run of one file
    python -m benchmarks.files forked KEY...       a run of each, forked off a loaded process as
                                                   a code location does (decision 25)
    python -m benchmarks.files shared FIRST COUNT  one run of several files
"""

import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.data import ROOT
from benchmarks.homes import home_of
from benchmarks.measure import Measured, run, spread
from geo_platform.ports import BRONZE
from geo_platform.process_start import fork_spawned_processes
from geo_platform.settings import Profile, Settings
from geo_platform.storage.stores import open_catalog, open_objects

FILES = int(os.environ.get("BENCH_FILES", "2000"))
PROFILES = os.environ.get("BENCH_PROFILES", "embedded,production").split(",")
RUNS_OF_ONE = int(os.environ.get("BENCH_RUNS_OF_ONE", "20"))
FILES_PER_RUN = 200
AT_A_TIME = 2

_FEATURES = 20


def files() -> list[str]:
    lines = [
        f"## Many files: {FILES:,} GeoJSON files of {_FEATURES} polygons, "
        f"{FILES_PER_RUN} to a run, compared with a run each",
        "",
        f"A process per run, {AT_A_TIME} at a time; {RUNS_OF_ONE} runs of one file stand for all. "
        "Forked: off a process that has loaded the definitions, as a code location starts runs "
        "on Linux (decision 25); by itself: as commands and containers start.",
        "",
        "| profile | how | files a second | wall seconds of a run | CPU seconds a file |",
        "|---|---|---|---|---|",
    ]
    ratios = []
    for profile in PROFILES:
        with home_of(Profile(profile)) as environment:
            rows, ratio, ratio_of_forked = _compared(profile, environment)
        lines += rows
        ratios.append(f"{profile} **{ratio:.1f}**, of forked ones {ratio_of_forked:.1f}")
    return [
        *lines,
        "",
        f"Ratio of files a second, shared / each: {', '.join(ratios)} (target: at least 10). "
        "Every file was published once.",
        "",
    ]


def _compared(profile: str, environment: Mapping[str, str]) -> tuple[list[str], float, float]:
    """Return the table's rows, and the ratios of shared runs to runs of one: by itself, forked."""
    settings = _settings(environment)
    _put(settings, [*map(_key, range(FILES)), *map(_single, range(2 * RUNS_OF_ONE + 1))])
    each_s, each = _two_at_a_time(
        environment, [["each", _single(number)] for number in range(RUNS_OF_ONE)]
    )
    _, (forking,) = _two_at_a_time(
        environment, [["forked", *map(_single, range(RUNS_OF_ONE, 2 * RUNS_OF_ONE + 1))]]
    )
    forked_s, *forked_wall_s = map(float, forking.stdout.splitlines()[-1].split())
    groups = [
        ["shared", str(first), str(min(FILES_PER_RUN, FILES - first))]
        for first in range(0, FILES, FILES_PER_RUN)
    ]
    shared_s, shared = _two_at_a_time(environment, groups)
    _check_once(settings)
    of_one, of_forked, of_all = RUNS_OF_ONE / each_s, RUNS_OF_ONE / forked_s, FILES / shared_s
    forked = f"| {profile} | a run each, forked | {of_forked:.2f} | {spread(forked_wall_s)} | |"
    rows = [
        _row(profile, "a run each, by itself", of_one, each, RUNS_OF_ONE),
        forked,
        _row(profile, "shared", of_all, shared, FILES),
    ]
    return rows, of_all / of_one, of_all / of_forked


def _row(
    profile: str, how: str, files_a_second: float, runs: Sequence[Measured], count: int
) -> str:
    cpu_s = sum(one.cpu_s for one in runs) / count
    wall = spread([one.wall_s for one in runs])
    return f"| {profile} | {how} | {files_a_second:.2f} | {wall} | {cpu_s:.2f} |"


def _two_at_a_time(
    environment: Mapping[str, str], commands: Sequence[Sequence[str]]
) -> tuple[float, list[Measured]]:
    def one(arguments: Sequence[str]) -> Measured:
        return run(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.files", *arguments],
            env={**os.environ, **environment},
        )

    started = time.perf_counter()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        measured = list(pool.map(one, commands))
    return time.perf_counter() - started, measured


def _check_once(settings: Settings) -> None:
    """Raise RuntimeError unless every file has one item and no item was replaced."""
    catalog = open_catalog(settings)
    published, replaced = len(list(catalog.entries())), len(list(catalog.versions()))
    if (published, replaced) != (FILES + 2 * RUNS_OF_ONE + 1, 0):
        raise RuntimeError(
            f"{FILES + 2 * RUNS_OF_ONE + 1} files: {published} items, {replaced} of them replaced"
        )


def _key(number: int) -> str:
    return f"many/parcels_{number:05d}.geojson"


def _single(number: int) -> str:
    return f"each/parcel_{number:05d}.geojson"


def _put(settings: Settings, keys: Sequence[str]) -> None:
    objects, rng = open_objects(settings), random.Random(0)  # noqa: S311  # not a secret
    for key in keys:
        objects.put_bytes(BRONZE, key, small_file(rng), metadata={})


def small_file(rng: random.Random) -> bytes:
    """Return GeoJSON of random polygons."""
    features = []
    for number in range(_FEATURES):
        x, y = rng.uniform(-170, 170), rng.uniform(-80, 80)
        ring = [[x, y], [x + 0.01, y], [x + 0.01, y + 0.01], [x, y + 0.01], [x, y]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append(
            {
                "type": "Feature",
                "properties": {"name": f"parcel {number}", "area": number * 1.5},
                "geometry": geometry,
            }
        )
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def _settings(environment: Mapping[str, str]) -> Settings:
    return Settings.model_validate(
        {name.removeprefix("GEO_PLATFORM_").lower(): value for name, value in environment.items()}
    )


def _forked(keys: Sequence[str]) -> None:
    """Run the job for each key, some at a time; print the total seconds, then those of each run.

    The first run loads everything and is not counted.
    """
    fork_spawned_processes(["geo_platform.code_location"])
    context = multiprocessing.get_context("spawn")

    def one(key: str) -> float:
        started = time.perf_counter()
        process = context.Process(target=_execute, args=("ingest_vector", {}, key))
        process.start()
        process.join()
        if process.exitcode != 0:
            raise RuntimeError(f"{key}: exit code {process.exitcode}")
        return time.perf_counter() - started

    one(keys[0])
    started = time.perf_counter()
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        each_s = list(pool.map(one, keys[1:]))
    print(time.perf_counter() - started, *each_s)


def _execute(job: str, options: Mapping[str, Mapping[str, Any]], partition: str | None) -> None:
    """Execute one run in this process. Raises SystemExit: if it does not succeed."""
    from geo_platform.cli.application import INSTANCE_TEMPLATES
    from geo_platform.definitions import defs
    from geo_platform.orchestrator.instance import open_instance
    from geo_platform.orchestrator.launch import run as execute
    from geo_platform.runs import RunRequest
    from geo_platform.settings import load_settings

    settings = load_settings()
    with open_instance(settings, ROOT / INSTANCE_TEMPLATES[settings.profile]) as instance:
        name = "vector_objects" if partition is not None else None
        report = execute(RunRequest(job, partition, name, options), defs, instance)
    if report.status != "success":
        raise SystemExit(f"{job} {partition}: {report.error}")


if __name__ == "__main__":
    if sys.argv[1] == "each":
        _execute("ingest_vector", {}, sys.argv[2])
    elif sys.argv[1] == "forked":
        _forked(sys.argv[2:])
    else:
        keys = [
            {"key": _key(number)}
            for number in range(int(sys.argv[2]), int(sys.argv[2]) + int(sys.argv[3]))
        ]
        _execute("ingest_files", {"files": {"files": keys}}, None)
