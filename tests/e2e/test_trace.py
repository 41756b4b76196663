"""Trace real runs by every kind of id that a person may have, on both profiles."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from click.testing import CliRunner

from geo_platform.catalog.publish import publish_vector
from geo_platform.cli.application import Application
from geo_platform.cli.main import main
from geo_platform.errors import StoreUnavailable
from geo_platform.runs import CORRELATION_TAG, RunReport, RunRequest
from geo_platform.settings import Profile
from tests.support.in_process import DAGSTER_S_WARNINGS, Give, commands
from tests.support.production import ProfileUnderTest

pytestmark = DAGSTER_S_WARNINGS
KEY = "wells.geojson"
ITEM = "vectors/wells"
CLIENT = "req 2026/17 ü"
# A client's id that would clear the screen.
FORGED = "req\x1b[2J"


def wells(count: int) -> bytes:
    features = [
        {
            "type": "Feature",
            "properties": {"number": n},
            "geometry": {"type": "Point", "coordinates": [4 + n / 100, 50]},
        }
        for n in range(count)
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


@dataclass
class Client:
    """Puts sources into the store, runs them, and traces the runs."""

    home: Path
    profile: ProfileUnderTest
    give: Give

    def launch(self, key: str, content: bytes, *, client_id: str) -> RunReport:
        settings = self.profile.settings(self.home)
        objects = self.profile.objects(self.home)
        if [stored.reference.size_bytes for stored in objects.list("bronze", key)] != [
            len(content)
        ]:
            objects.put_bytes("bronze", key, content, metadata={})
        request = RunRequest(
            "ingest_vector", key, "vector_objects", tags={CORRELATION_TAG: client_id}
        )
        with Application(settings).launcher() as launcher:
            return launcher.run(request)

    def trace(self, *asked: str, exit_code: int = 0) -> Any:
        return self.give("trace", *asked, exit_code=exit_code)

    def timeline(self, *asked: str) -> Any:
        """Return the timeline of the only run found."""
        (timeline,) = self.trace(*asked)["timelines"]
        return timeline


@dataclass(frozen=True)
class Story:
    """What was done, in this order; `at_first` is the output after the first run."""

    client: Client
    first: RunReport
    at_first: dict[str, Any]
    second: RunReport
    unchanged: RunReport
    rollback: str
    unpublish: str
    refused: RunReport


def ids_of(client: Client, timeline: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return one id of each kind from a run."""
    blob = next(event["details"] for event in timeline["events"] if event["kind"] == "BLOB_WRITTEN")
    message = next(
        event["details"] for event in timeline["events"] if event["kind"] == "MESSAGE_STORED"
    )
    place = next(
        event["said"].split(",")[0]
        for event in timeline["events"]
        if event["kind"] == "BLOB_WRITTEN"
    )
    run_id = str(timeline["run_id"])
    asked = {
        "beginning": (run_id[:8],),
        "trace id": (run_id.replace("-", ""),),
        "client": (CLIENT,),
        "blob": (blob["uri"],),
        "container and key": (place,),
        "message": (message["uri"],),
        "source": (f"bronze/{KEY}",),
        "item": (ITEM,),
        "item alone": ("--as", "item", "wells"),
    }
    if client.profile.profile is Profile.production:
        table = next(
            event["details"] for event in timeline["events"] if event["kind"] == "TABLE_LOADED"
        )
        rows = next(
            event["details"] for event in timeline["events"] if event["kind"] == "ROWS_COUNTED"
        )
        asked |= {
            "table": (table["lies_in"],),
            "version": (table["version"],),
            "table's uri": (rows["table"],),
        }
    return asked


@pytest.fixture(scope="module")
def story(
    module_profile: ProfileUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    home = tmp_path_factory.mktemp("trace") / "home"
    with commands(module_profile, home) as give:
        client = Client(home, module_profile, give)
        first = client.launch(KEY, wells(3), client_id=CLIENT)
        at_first = {
            name: client.trace(*asked)
            for name, asked in ids_of(client, client.timeline(first.run_id)).items()
        }
        at_first["run"] = client.trace(first.run_id)
        with patch("geo_platform.catalog.publish.publish_vector", fails_once(publish_vector)):
            second = client.launch(KEY, wells(5), client_id="twice")
        unchanged = client.launch(KEY, wells(5), client_id="twice")
        rollback = give("rollback", "wells")["run_id"]
        unpublish = give("unpublish", "wells")["run_id"]
        refused = client.launch("letter.geojson", b"Dear Sir", client_id=FORGED)
        yield Story(client, first, at_first, second, unchanged, rollback, unpublish, refused)


def fails_once(work: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function fail once, as in a temporary fault."""
    left = [StoreUnavailable("The catalog did not answer.")]

    def work_or_fail(*arguments: Any, **options: Any) -> Any:
        if left:
            raise left.pop()
        return work(*arguments, **options)

    return work_or_fail


def kinds(timeline: dict[str, Any]) -> list[str]:
    return [event["kind"] for event in timeline["events"]]


def test_every_id_of_a_run_leads_to_the_same_timeline(story: Story) -> None:
    asked = dict(story.at_first)
    by_run = asked.pop("run")
    assert [timeline["run_id"] for timeline in by_run["timelines"]] == [story.first.run_id]
    assert len(asked) >= 9
    for kind, answer in asked.items():
        assert answer["timelines"] == by_run["timelines"], kind
        assert answer["unreached"] == []


def test_the_timeline_has_request_stages_objects_rows_and_publication_in_order(
    story: Story,
) -> None:
    timeline = story.at_first["run"]["timelines"][0]
    head = {
        name: timeline[name]
        for name in ("job", "status", "partition", "correlation_id", "error", "retry_of")
    }
    assert head == {
        "job": "ingest_vector",
        "status": "success",
        "partition": KEY,
        "correlation_id": CLIENT,
        "error": None,
        "retry_of": None,
    }
    assert timeline["launched_by"].startswith("the command line on ")
    stages = ["raw_vector", "vector_profile", "vector_features", "vector_item"]
    assert [
        (stage["stage"], stage["status"], stage["attempts"]) for stage in timeline["stages"]
    ] == [(s, "done", 1) for s in stages]
    assert all(stage["duration_ms"] > 0 for stage in timeline["stages"])
    met = kinds(timeline)
    order = [
        "SOURCE_ARRIVED",
        "RUN_REQUESTED",
        "RUN_STARTED",
        "STAGE_START",
        "BLOB_WRITTEN",
        "CATALOG_PUBLISHED",
        "RUN_ENDED",
    ]
    places = [met.index(kind) for kind in order]
    assert places == sorted(places)
    assert [
        met.count(kind)
        for kind in ("MESSAGE_STORED", "MESSAGE_CREATED", "STAGE_START", "STAGE_DONE")
    ] == [4, 4, 4, 4]
    rows = next(event["details"] for event in timeline["events"] if event["kind"] == "ROWS_COUNTED")
    assert (rows["read"], rows["inserted"], rows["rejected"]) == (3, 3, 0)
    objects = story.client.profile.objects(story.client.home)
    for event in timeline["events"]:
        if event["kind"] == "BLOB_WRITTEN":
            container, _, key = event["said"].split(",")[0].partition("/")
            assert objects.stat(container, key).reference.etag == event["details"]["etag"]


def test_a_retried_stage_has_its_attempts_and_the_temporary_error(story: Story) -> None:
    timeline = story.client.timeline(story.second.run_id)
    assert timeline["status"] == "success"
    assert timeline["error"] is None
    item = timeline["stages"][-1]
    assert (item["stage"], item["status"], item["attempts"]) == ("vector_item", "done", 2)
    failed = next(event for event in timeline["events"] if event["kind"] == "STAGE_FAILED")
    assert (failed["attempt"], failed["error"]["code"]) == (1, "STORE_UNAVAILABLE")
    assert kinds(timeline).index("STAGE_FAILED") < kinds(timeline).index("STAGE_RETRIED")


def test_the_timeline_shows_the_replaced_version_and_the_later_fate_of_its_own(
    story: Story,
) -> None:
    client, first, second = story.client, story.first.run_id, story.second.run_id
    later = client.timeline(second)
    assert [replaced["run_id"] for replaced in later["replaced"]] == [first]
    assert [(since["kind"], since["by_run"]) for since in later["since"]] == [
        ("REPLACED", story.rollback)
    ]
    earlier = client.timeline(first)
    later_events = [(since["kind"], since["by_run"]) for since in earlier["since"]]
    assert later_events == [
        ("REPLACED", second),
        ("RESTORED", story.rollback),
        ("UNPUBLISHED", story.unpublish),
    ]
    restoring = client.timeline(story.rollback)
    assert (restoring["job"], [replaced["run_id"] for replaced in restoring["replaced"]]) == (
        "rollback_item",
        [second],
    )
    assert [(since["kind"], since["by_run"]) for since in restoring["since"]] == [
        ("UNPUBLISHED", story.unpublish)
    ]


def test_an_unpublished_item_still_leads_to_its_runs(story: Story) -> None:
    found = [timeline["run_id"] for timeline in story.client.trace(ITEM)["timelines"]]
    assert found == [story.first.run_id, story.rollback]


def test_several_runs_of_one_request_have_a_timeline_each_in_order(story: Story) -> None:
    second, unchanged = story.client.trace("twice")["timelines"]
    assert (second["run_id"], unchanged["run_id"]) == (story.second.run_id, story.unchanged.run_id)
    assert "ITEM_UNCHANGED" in kinds(unchanged)
    assert "BLOB_REUSED" in kinds(unchanged)


def test_a_refused_source_is_shown_with_its_code_and_remedy(story: Story) -> None:
    timeline = story.client.timeline("bronze/letter.geojson")
    assert (timeline["run_id"], timeline["status"]) == (story.refused.run_id, "failure")
    assert timeline["error"] == story.refused.error
    assert [(stage["stage"], stage["status"]) for stage in timeline["stages"]] == [
        ("raw_vector", "failed")
    ]
    assert kinds(timeline).count("STAGE_FAILED") == 1


def test_an_unknown_id_is_reported_with_what_was_searched(story: Story) -> None:
    answer = story.client.trace("no-such-thing", exit_code=1)
    assert answer["timelines"] == answer["unreached"] == []
    assert answer["looked_for"] == ["client's id no-such-thing", "item no-such-thing"]


def test_other_stores_show_a_run_while_dagster_storage_is_unavailable(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = story.client
    if client.profile.profile is Profile.production:
        monkeypatch.setenv(
            "GEO_PLATFORM_DAGSTER_POSTGRES_URL", "postgresql://somebody@127.0.0.1:1/dagster"
        )
        code = "DATABASE_UNAVAILABLE"
    else:
        storage = client.home / "dagster" / "history" / "runs.db"
        kept = storage.read_bytes()
        storage.write_bytes(b"this is no database, and long enough to be read as one" * 100)
        code = "STORE_UNAVAILABLE"
    try:
        answer = client.trace(story.second.run_id, exit_code=3)
    finally:
        if client.profile.profile is Profile.embedded:
            storage.write_bytes(kept)
    assert [(fault["store"], fault["code"]) for fault in answer["unreached"]] == [("dagster", code)]
    (timeline,) = answer["timelines"]
    assert (timeline["run_id"], timeline["status"], timeline["stages"]) == (
        story.second.run_id,
        None,
        [],
    )
    assert {
        "MESSAGE_STORED",
        "BLOB_WRITTEN",
        "ROWS_COUNTED",
        "CATALOG_PUBLISHED",
        "REPLACED",
    } <= set(kinds(timeline))


def test_an_unavailable_store_is_named_and_the_others_are_shown(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = story.client
    if client.profile.profile is Profile.embedded:
        (client.home / "store" / "messages").rename(client.home / "kept")
        (client.home / "store" / "messages").symlink_to(
            "messages"
        )  # nobody can read it, not even root
        away = {"objects": "STORE_DENIED"}
    else:
        nowhere = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:1/a;"
        monkeypatch.setenv("GEO_PLATFORM_BLOB_CONNECTION_STRING", nowhere)
        monkeypatch.setenv(
            "GEO_PLATFORM_POSTGRES_URL", "postgresql://somebody:secret@127.0.0.1:1/geo"
        )
        away = {"objects": "STORE_UNAVAILABLE", "tables": "DATABASE_UNAVAILABLE"}
    try:
        answer = client.trace(CLIENT, exit_code=3)
    finally:
        if client.profile.profile is Profile.embedded:
            (client.home / "store" / "messages").unlink()
            (client.home / "kept").rename(client.home / "store" / "messages")
    assert {fault["store"]: fault["code"] for fault in answer["unreached"]} == away
    assert all(fault["remedy"] for fault in answer["unreached"])
    (timeline,) = answer["timelines"]
    assert (timeline["run_id"], timeline["status"], len(timeline["stages"])) == (
        story.first.run_id,
        "success",
        4,
    )
    assert "secret" not in json.dumps(answer)
    assert "MESSAGE_STORED" not in kinds(timeline)


def test_text_output_shows_no_control_characters_of_a_name(story: Story) -> None:
    ended = CliRunner().invoke(main, ["--home", str(story.client.home), "trace", FORGED])
    assert ended.exit_code == 0, ended.output
    assert "\x1b" not in ended.output
    assert "client's id  req\\x1b[2J" in ended.output
    assert "UNSUPPORTED_FORMAT" in ended.output
    assert "What to do:" in ended.output
