"""Reword every sentence of the platform and of Dagster: what programs read stays the same.

The same story runs with the original and with reworded sentences: a run retried after a temporary
error, a quarantined refusal, a shared run, a waiting run, and inconsistent stores. Then the output
of `trace`, `doctor`, `retry`, `quarantine` and the server-sent events is compared without
sentences.
"""

import asyncio
import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from difflib import unified_diff
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import httpx
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_graphql.schema import create_schema

from geo_platform.api.dagster.graphql import DagsterGraphql
from geo_platform.api.jobs import progress as api_progress
from geo_platform.chains.raster import RASTER
from geo_platform.chains.vector import VECTOR
from geo_platform.errors import PlatformError, StoreUnavailable
from geo_platform.orchestrator.state_check import check_state
from geo_platform.orchestrator.stuck_runs import report_stuck_runs
from geo_platform.ports import BRONZE, MESSAGES
from geo_platform.settings import Profile
from geo_platform.storage.local.folder import FolderStore
from tests.integration.test_quarantine import Place, without_crs
from tests.support.in_process import DAGSTER_S_WARNINGS, commands
from tests.support.production import ProfileUnderTest

pytestmark = [*DAGSTER_S_WARNINGS, pytest.mark.filterwarnings("ignore::dagster.BetaWarning")]
EMBEDDED = ProfileUnderTest(Profile.embedded, {})
SENTENCES = {
    "said",
    "message",
    "remedy",
    "description",
    "traceback",
    "understood_as",
    "sentence",
    "says",
}
PASSING = {
    "duration_ms",
    "etag",
    "size_bytes",
    "created_at_utc",
    "seconds",
    "notes",
    "seconds_to_wait",
}
WELLS = json.dumps(
    {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "properties": {"number": 1},
                "geometry": {"type": "Point", "coordinates": [4, 50]},
            }
        ],
    }
).encode()


def reworded(text: str) -> str:
    """Return a prefix and the words in reverse order."""
    return " ".join(["Reworded:", *reversed(text.split())])


def reword_everything(patched: pytest.MonkeyPatch) -> None:
    """Reword new errors, and the entries of Dagster's event log as they are stored."""
    make, store = PlatformError.__init__, SqliteEventLogStorage.store_event

    def made(self: PlatformError, message: str, *, remedy: str | None = None, **more: Any) -> None:
        make(self, reworded(message), remedy=reworded(remedy or self.default_remedy), **more)

    def stored(self: SqliteEventLogStorage, entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is not None:
            event = event._replace(message=reworded(event.message or ""))
        store(
            self,
            entry._replace(user_message=reworded(entry.user_message), dagster_event=event),
        )

    patched.setattr(PlatformError, "__init__", made)
    patched.setattr(SqliteEventLogStorage, "store_event", stored)


def unavailable_once(patched: pytest.MonkeyPatch) -> None:
    """Make the first attempt to store the first message fail."""
    put, failures = FolderStore.put_bytes, iter([StoreUnavailable("The store is down.")])

    def put_bytes(self: FolderStore, container: str, key: str, *rest: Any, **more: Any) -> Any:
        of_stage = container == MESSAGES and key.startswith("raw_vector/")
        if of_stage and (failure := next(failures, None)) is not None:
            raise failure
        return put(self, container, key, *rest, **more)

    patched.setattr(FolderStore, "put_bytes", put_bytes)


def graphql(instance: dg.DagsterInstance) -> httpx.MockTransport:
    """Answer as Dagster's webserver does, in this process."""
    schema = create_schema()

    def handler(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)
        with WorkspaceProcessContext(instance, None) as context:
            answer = schema.execute(
                asked["query"],
                context_value=context.create_request_context(),
                variable_values=asked["variables"],
            )
        return httpx.Response(200, json=answer.formatted)

    return httpx.MockTransport(handler)


def server_sent_events(instance: dg.DagsterInstance, run_id: str) -> list[Any]:
    """Return the event stream of a job whose run has ended."""
    with closing(DagsterGraphql("http://dagster", transport=graphql(instance))) as dagster:
        snapshot = SimpleNamespace(
            run=SimpleNamespace(run_id=run_id), state=SimpleNamespace(is_active=False)
        )
        services: Any = SimpleNamespace(
            dagster=dagster, intake=SimpleNamespace(snapshot=lambda _: snapshot)
        )
        job: Any = None

        async def lines() -> list[str]:
            return [block async for block in api_progress.progress(services, job, "")]

        with pytest.MonkeyPatch.context() as patched:
            status = SimpleNamespace(model_dump=lambda **_: {})
            patched.setattr(api_progress, "status_of_job", lambda *_: status)
            blocks = asyncio.run(lines())
    told = [
        dict(line.split(": ", 1) for line in block.splitlines() if ": " in line[1:])
        for block in blocks
    ]
    return [{**block, "data": json.loads(block["data"])} for block in told if block]


def set_column(home: Path, run_id: str, column: str, value: str) -> None:
    """Edit Dagster's own table, as no program does."""
    with closing(sqlite3.connect(home / "dagster" / "history" / "runs.db")) as database, database:
        database.execute(
            f"UPDATE runs SET {column} = ? WHERE run_id = ?", (value, run_id)
        )  # a fixed column name


def take_away(home: Path, collection: str, item_id: str) -> None:
    """Remove an item without a run, as no program does."""
    catalog = EMBEDDED.catalog(home)
    item = catalog.item(collection, item_id)
    assert item is not None
    catalog.unpublish(collection, item_id, published=item["properties"]["geo_platform:fingerprint"])
    for version in list(catalog.versions(collection, item_id)):
        catalog.forget(version)


def story(home: Path, folder: Path) -> Mapping[str, Any]:
    """Run the story and return the output of each program."""
    settings = EMBEDDED.settings(home)
    with commands(EMBEDDED, home) as give:
        place = Place(give, EMBEDDED, home)
        instance = place.instance
        with instance:
            place.objects.put_bytes(BRONZE, "wells.geojson", WELLS, metadata={})
            with pytest.MonkeyPatch.context() as failing:
                unavailable_once(failing)
                retried = place.run_for("wells.geojson", VECTOR).run_id
            scene = without_crs(folder)
            place.objects.put_file(BRONZE, "one/scene.tif", scene, metadata={})
            refused = place.run_for("one/scene.tif", RASTER).run_id
            place.objects.put_file(BRONZE, "two/scene.tif", scene, metadata={})
            place.objects.put_bytes(BRONZE, "more.geojson", WELLS, metadata={})
            shared = place.run_for_several(["two/scene.tif", "more.geojson"]).run_id
            left = [give("retry", run, "--dry-run") for run in (refused, shared)]
            ticks = [place.tick().split(".")[0] for _ in range(2)]
            set_column(home, retried, "status", "CANCELED")
            mismatches = [len(check_state(instance, retried, settings)) for _ in range(2)]
            set_column(home, retried, "status", "SUCCESS")
            job = dg.Definitions(jobs=[empty]).resolve_job_def("empty")
            waiting = instance.create_run_for_job(job).run_id
            set_column(home, waiting, "create_timestamp", "2026-01-01 00:00:00")
            stuck = [
                re.findall(r"\d+", report_stuck_runs(instance, queued_too_long_s=0))
                for _ in range(2)
            ]
            runs = [retried, refused, shared, waiting]
            answers: dict[str, Any] = {
                "trace": [give("trace", run)["timelines"] for run in runs],
                "events": [server_sent_events(instance, run) for run in runs],
                "retry": left,
                "quarantine": sorted(give("quarantine", "list"), key=lambda row: str(row["key"])),
                "ticks": ticks,
                "mismatches": mismatches,
                "stuck": stuck,
            }
            take_away(home, "vectors", "wells")
            answers["doctor"] = give("doctor", exit_code=1)
    return comparable(answers, runs, home)


@dg.job
def empty() -> None: ...


def comparable(answers: Any, runs: list[str], home: Path) -> Any:
    """Remove sentences, times and varying figures; replace run ids and the home by names."""
    names = {str(home): "HOME", **{run: f"run {number}" for number, run in enumerate(runs)}}
    names |= {run.replace("-", ""): name for run, name in names.items()}

    def named(text: str) -> str:
        for known, name in names.items():
            text = text.replace(known, name)
        text = re.sub(r"\b[0-9a-f]{16,}\b", "DIGEST", text)  # hashes of texts with the home's path
        return re.sub(r"\d{4}-\d\d-\d\d[T ][\d:.]+(Z|\+00:00)?", "MOMENT", text)

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                named(key): plain(below)
                for key, below in value.items()
                if key not in SENTENCES | PASSING and not key.endswith("_utc")
            }
        if isinstance(value, list):
            return [plain(below) for below in value]
        return named(value) if isinstance(value, str) else value

    return plain(answers)


@pytest.fixture
def tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    monkeypatch.setenv("DAGSTER_HOME", "unset")

    def told(name: str) -> Any:
        folder = tmp_path / name
        folder.mkdir()
        monkeypatch.setenv("GEO_PLATFORM_HOME", str(folder / "home"))
        return story(folder / "home", folder)

    return told


def test_what_programs_read_does_not_depend_on_a_sentence(
    tell: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    worded = tell("worded")
    with monkeypatch.context() as patched:
        reword_everything(patched)
        otherwise = tell("otherwise")
    for name, answer in worded.items():
        text, other = (json.dumps(one, indent=1).splitlines() for one in (answer, otherwise[name]))
        difference = "\n".join(unified_diff(text, other, lineterm="", n=8))
        assert not difference, f"{name}\n{difference}"
    kinds = {event["kind"] for (timeline,) in worded["trace"] for event in timeline["events"]}
    assert kinds >= {
        "STAGE_FAILED",
        "STAGE_RETRIED",
        "FEATURES_LOADED",
        "ITEM_PUBLISHED",
        "QUARANTINED",
        "STATE_MISMATCH",
        "RUN_STUCK",
    }
    assert worded["ticks"] == [
        "2 moved to quarantine, 0 left, 0 runs to repeat",
        "0 moved to quarantine, 0 left, 0 runs to repeat",
    ]
    (timeline,) = worded["trace"][0]
    (retry,) = [event for event in timeline["events"] if event["kind"] == "STAGE_RETRIED"]
    assert retry["error"]["code"] == "STORE_UNAVAILABLE"
    (stuck,) = [
        event
        for (timeline,) in worded["trace"]
        for event in timeline["events"]
        if event["kind"] == "RUN_STUCK"
    ]
    assert stuck["details"]["cause"] == "NO_WORKER"
    assert [row["key"] for row in worded["quarantine"]] == ["one/scene.tif", "two/scene.tif"]
