"""Quarantine on each profile: moves killed at any point, and the way from a refused run to a
published item.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.transform import Affine

from geo_platform.arrivals.arrival import arrival_key
from geo_platform.arrivals.quarantine import (
    QuarantineOutcome,
    Refusal,
    present_arrival,
    quarantine,
    release,
)
from geo_platform.arrivals.receipts import write_receipts
from geo_platform.arrivals.watch import DEFAULT_WATCH
from geo_platform.chains.chain import Chain
from geo_platform.chains.raster import RASTER
from geo_platform.cli.application import INSTANCE_TEMPLATES
from geo_platform.errors import Conflict, SourceNotFound
from geo_platform.orchestrator.instance import open_instance
from geo_platform.orchestrator.launch import run
from geo_platform.orchestrator.run_requests import shared_config
from geo_platform.ports import BRONZE, QUARANTINE
from geo_platform.runs import ARRIVAL_TAG, WATCH_TAG, RunReport, RunRequest
from geo_platform.settings import Profile
from schedules.sensors import quarantine_refused
from tests.support.command import ROOT
from tests.support.in_process import DAGSTER_S_WARNINGS, Give, commands
from tests.support.memory_objects import Killed, Mortal, When, contents
from tests.support.objects import ObjectsUnderTest, azure_under_test, folder_under_test
from tests.support.production import ProfileUnderTest

pytestmark = [*DAGSTER_S_WARNINGS, pytest.mark.filterwarnings("ignore::dagster.BetaWarning")]
KEY = "in/Zürich 1.tif"
SET = {KEY: b"pixels", "in/Zürich 1.tfw": b"world"}
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture(params=list(Profile), ids=str)
def under_test(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectsUnderTest]:
    if request.param is Profile.embedded:
        yield folder_under_test(tmp_path / "stores")
        return
    with azure_under_test(request.getfixturevalue("blobs"), tmp_path / "stores") as objects:
        yield objects


def arrive(store: Any) -> str:
    for key, content in SET.items():
        store.put_bytes(BRONZE, key, content, metadata={"Owner": "Jürg"})
    present = present_arrival(store, BRONZE, KEY)
    assert present is not None
    return present[0].etag


def refuse(store: Any, etag: str) -> QuarantineOutcome:
    refusal = Refusal("CRS_MISSING", "It has none: 100 %.", "Give one.", "run", "scenes")
    return quarantine(store, BRONZE, KEY, etag, refusal, now_utc=NOW).outcome


def moments(calls: list[str]) -> Iterator[tuple[int, When]]:
    """Yield the calls that change something; unit tests cover kills at the others."""
    for number, name in enumerate(calls):
        if name in ("put_bytes", "move", "delete"):
            yield from (
                (number, when) for when in When if when is not When.within or name == "move"
            )


def test_quarantine_and_release_can_be_repeated_after_a_kill_at_any_change(
    under_test: ObjectsUnderTest,
) -> None:
    store = under_test.store
    etag = arrive(store)
    there, back = Mortal(store), Mortal(store)
    assert refuse(there, etag) is QuarantineOutcome.quarantined
    release(back, KEY)  # type: ignore[arg-type]
    for number, when in moments(there.calls):
        etag = arrive(store)
        with pytest.raises(Killed):
            refuse(Mortal(store, number, when), etag)
        assert refuse(store, etag) is QuarantineOutcome.quarantined
        assert contents(store, BRONZE) == {}
        release(store, KEY)
    for number, when in moments(back.calls):
        store.delete(BRONZE, KEY)
        assert refuse(store, arrive(store)) is QuarantineOutcome.quarantined
        with pytest.raises(Killed):
            release(Mortal(store, number, when), KEY)  # type: ignore[arg-type]
        if contents(store, QUARANTINE):
            release(store, KEY)
        assert (contents(store, BRONZE), contents(store, QUARANTINE)) == (SET, {})
        assert store.stat(BRONZE, KEY).metadata == {"Owner": "Jürg", "released_of_run": "run"}


def test_a_new_version_is_distinguished_from_the_refused_one(
    under_test: ObjectsUnderTest,
) -> None:
    store = under_test.store
    etag = arrive(store)
    newer = arrive(store)
    assert refuse(store, etag) is QuarantineOutcome.overwritten
    assert refuse(store, newer) is QuarantineOutcome.quarantined
    assert refuse(under_test.again(), newer) is QuarantineOutcome.quarantined
    store.put_bytes(BRONZE, KEY, b"newer", metadata={})
    with pytest.raises(Conflict, match="A newer object"):
        release(store, KEY)
    store.delete(BRONZE, KEY)
    assert refuse(store, newer) is QuarantineOutcome.quarantined
    store.delete(QUARANTINE, KEY)
    with pytest.raises(SourceNotFound, match="only the record"):
        release(store, KEY)
    assert refuse(store, "never seen") is QuarantineOutcome.gone


class Place:
    """A home of one profile with its Dagster, and the sensors' work."""

    def __init__(self, give: Give, profile: ProfileUnderTest, home: Path) -> None:
        self.give = give
        self.objects = profile.objects(home)
        self.instance = open_instance(
            profile.settings(home), ROOT / INSTANCE_TEMPLATES[profile.profile]
        )
        self.cursor: str | None = None

    def run_for(self, key: str, chain: Chain) -> RunReport:
        """Run the chain as the watch's sensor requests it, with a receipt."""
        from geo_platform.definitions import defs

        present = present_arrival(self.objects, BRONZE, key)
        assert present is not None
        arrival = arrival_key(present[0], DEFAULT_WATCH.parameters)
        write_receipts(
            self.objects,
            {arrival: present[0]},
            {},
            watch=DEFAULT_WATCH.name,
            run_key=arrival,
            now_utc=datetime.now(UTC),
        )
        request = RunRequest(
            job=chain.job,
            partition=key,
            partitions_name=chain.partitions_name,
            stage_options=DEFAULT_WATCH.options_for(chain),
            tags={WATCH_TAG: DEFAULT_WATCH.name, ARRIVAL_TAG: arrival},
        )
        return run(request, defs, self.instance)

    def run_for_several(self, keys: list[str]) -> RunReport:
        """Run a shared run of small files as the watch's sensor requests it."""
        from geo_platform.definitions import defs

        present = [present_arrival(self.objects, BRONZE, key) for key in keys]
        config = shared_config(DEFAULT_WATCH, [found[0] for found in present if found is not None])
        options = {name: op["config"] for name, op in config["ops"].items()}
        return run(
            RunRequest(
                "ingest_files", None, stage_options=options, tags={WATCH_TAG: DEFAULT_WATCH.name}
            ),
            defs,
            self.instance,
        )

    def tick(self) -> str:
        """Evaluate the sensor once, as the daemon does."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        done = quarantine_refused(context)
        assert isinstance(done, dg.SensorResult)
        assert isinstance(done.skip_reason, dg.SkipReason)
        self.cursor = done.cursor
        return done.skip_reason.skip_message or ""

    def found_by_doctor(self) -> list[Mapping[str, Any]]:
        return [
            finding
            for finding in self.give("doctor")["findings"]
            if finding["code"] == "QUARANTINE_INCOMPLETE"
        ]


@pytest.fixture
def place(
    profile: ProfileUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    monkeypatch.setenv("DAGSTER_HOME", "unset")
    with commands(profile, tmp_path / "home") as give:
        made = Place(give, profile, tmp_path / "home")
        with made.instance:
            yield made


def without_crs(folder: Path) -> Path:
    path = folder / "scene.tif"
    profile = {
        "driver": "GTiff",
        "width": 64,
        "height": 64,
        "count": 1,
        "dtype": "uint16",
        "transform": Affine(10, 0, 500_000, 0, -10, 5_200_000),
    }
    with rasterio.open(path, "w", **profile) as image:
        image.write(np.arange(64 * 64, dtype="uint16").reshape(1, 64, 64))
    return path


def test_an_object_refused_by_a_watch_run_is_quarantined_repaired_released_and_published(
    place: Place, tmp_path: Path
) -> None:
    place.objects.put_file(BRONZE, "dem/scene.tif", without_crs(tmp_path), metadata={})
    refused = place.run_for("dem/scene.tif", RASTER)
    assert refused.error is not None
    assert refused.error["code"] == "CRS_MISSING"
    assert place.tick().startswith("1 moved to quarantine, 0 left, 0 runs")
    assert place.tick().startswith("0 moved to quarantine")
    assert contents(place.objects, BRONZE) == {}

    (row,) = place.give("quarantine", "list")
    assert (row["key"], row["code"], row["run_id"], row["watch"]) == (
        "dem/scene.tif",
        "CRS_MISSING",
        refused.run_id,
        "bronze",
    )
    shown = place.give("quarantine", "show", "dem/scene.tif")
    assert (shown["message"], shown["remedy"]) == (
        refused.error["message"],
        refused.error["remedy"],
    )
    assert place.found_by_doctor() == []
    for asked in (refused.run_id, "quarantine/dem/scene.tif", "bronze/dem/scene.tif"):
        events = [
            event
            for event in place.give("trace", asked)["timelines"][0]["events"]
            if event["kind"] == "QUARANTINED"
        ]
        assert ["moved to quarantine/dem/scene.tif" in event["said"] for event in events] == [
            True
        ], asked

    srs = CRS.from_epsg(32632).to_wkt().replace(chr(34), "&quot;")
    beside = f"<PAMDataset><SRS>{srs}</SRS></PAMDataset>"
    place.objects.put_bytes(BRONZE, "dem/scene.tif.aux.xml", beside.encode(), metadata={})
    released = place.give("quarantine", "release", "dem/scene.tif")
    assert (released["outcome"], released["container"], released["parts"]) == (
        "released",
        BRONZE,
        ["dem/scene.tif"],
    )
    published = place.run_for("dem/scene.tif", RASTER)
    assert published.status == "success", published.error
    assert [item["source"] for item in place.give("list")] == ["dem/scene.tif"]
    place.tick()
    assert (place.give("quarantine", "list"), place.found_by_doctor()) == ([], [])
    assert set(contents(place.objects, BRONZE)) == {"dem/scene.tif", "dem/scene.tif.aux.xml"}


def test_refused_files_of_a_shared_run_are_quarantined_and_the_others_published(
    place: Place,
) -> None:
    point = (
        '{"type": "Feature", "properties": {"depth_m": 12.5}, '
        '"geometry": {"type": "Point", "coordinates": [8.5, 47.4]}}'
    )
    for key, features in (("good.geojson", point), ("empty.geojson", ""), ("bare.geojson", "")):
        content = f'{{"type": "FeatureCollection", "features": [{features}]}}'.encode()
        place.objects.put_bytes(BRONZE, key, content, metadata={})
    ended = place.run_for_several(["good.geojson", "empty.geojson", "bare.geojson"])
    assert ended.status == "failure"
    assert place.tick().startswith("2 moved to quarantine, 0 left, 0 runs")
    assert [
        (row["key"], row["code"], row["run_id"]) for row in place.give("quarantine", "list")
    ] == [
        ("bare.geojson", "NO_FEATURES", ended.run_id),
        ("empty.geojson", "NO_FEATURES", ended.run_id),
    ]
    assert [item["source"] for item in place.give("list")] == ["good.geojson"]
    assert list(contents(place.objects, BRONZE)) == ["good.geojson"]


def test_object_submitted_by_a_person_is_not_quarantined(place: Place, tmp_path: Path) -> None:
    output = place.give("ingest", without_crs(tmp_path), exit_code=1)
    assert output["error"]["code"] == "CRS_MISSING"
    assert place.tick().startswith("0 moved to quarantine, 0 left")
    assert [key.rpartition("/")[2] for key in contents(place.objects, BRONZE)] == ["scene.tif"]
    assert place.give("quarantine", "list") == []


def test_inconsistent_quarantine_contents_are_found(place: Place, tmp_path: Path) -> None:
    place.objects.put_file(BRONZE, "scene.tif", without_crs(tmp_path), metadata={})
    place.run_for("scene.tif", RASTER)
    place.tick()
    place.objects.put_bytes(QUARANTINE, "by hand.tif", b"x", metadata={})
    place.objects.put_bytes(QUARANTINE, "unread.tif.quarantine.json", b"{", metadata={})
    found = [
        finding
        for finding in place.give("doctor", exit_code=1)["findings"]
        if finding["code"] == "QUARANTINE_INCOMPLETE"
    ]
    assert [finding["concerns"] for finding in found] == [
        "quarantine/by hand.tif",
        "quarantine/unread.tif.quarantine.json",
    ]
    assert not any(finding["fixable"] for finding in found)
