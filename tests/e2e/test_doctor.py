"""Make every fault that `geo-platform doctor` knows, on each profile.

Each is found, explained, and fixed or left to a person.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg
import pytest

from geo_platform.doctor.examine import DoctorStores, examine
from geo_platform.doctor.findings import Diagnosis, FindingCode
from geo_platform.doctor.mend import mend
from geo_platform.orchestrator.instance import HOST_TAG, PROCESS_TAG
from geo_platform.orchestrator.instance_state import opened
from geo_platform.ports import SILVER
from geo_platform.settings import Profile
from geo_platform.storage.local.process import is_alive
from geo_platform.storage.local.scratch import AbandonedFiles
from geo_platform.storage.stores import open_inventory
from schedules.jobs import hello_world
from tests.support.command import ROOT, SAMPLES
from tests.support.in_process import DAGSTER_S_WARNINGS, Give, commands
from tests.support.production import ProfileUnderTest
from tests.support.publications import stage_table

pytestmark = DAGSTER_S_WARNINGS
TEMPLATES = {
    Profile.embedded: "deploy/embedded/dagster.yaml",
    Profile.production: "deploy/local/dagster.yaml",
}


def wells(count: int) -> str:
    features = [
        {
            "type": "Feature",
            "properties": {"number": n},
            "geometry": {"type": "Point", "coordinates": [4 + n / 100, 50]},
        }
        for n in range(count)
    ]
    return json.dumps({"type": "FeatureCollection", "features": features})


@dataclass
class Place:
    """A home with published items, and access to the stores behind them."""

    home: Path
    profile: ProfileUnderTest
    give: Give
    wells: Path

    def doctor(self, *options: str, exit_code: int = 0) -> Any:
        return self.give("doctor", *options, exit_code=exit_code)

    def found(self) -> Any:
        """Return the only finding."""
        (finding,) = self.doctor(exit_code=1)["findings"]
        return finding

    def fixed(self) -> Any:
        """Return what --fix did about the only finding; nothing may be left."""
        (done,) = self.doctor("--fix")["mended"]
        assert done["done"], done
        return done

    @property
    def objects(self) -> Any:
        return self.profile.objects(self.home)

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """Open Dagster's storage to make faults in it; opening it marks no run."""
        settings = self.profile.settings(self.home)
        from geo_platform.orchestrator.instance import open_instance

        instance = open_instance(
            settings, ROOT / TEMPLATES[self.profile.profile], ends_killed_runs=False
        )
        try:
            yield instance
        finally:
            instance.dispose()

    def examined(self, now_utc: datetime) -> Diagnosis:
        """Return the doctor's findings at another time."""
        with self.stores() as stores:
            return examine(stores, now_utc=now_utc)

    @contextmanager
    def stores(self) -> Iterator[DoctorStores]:
        settings = self.profile.settings(self.home)
        with opened(settings, ROOT / TEMPLATES[self.profile.profile]) as state:
            yield DoctorStores(
                self.profile.catalog(self.home),
                self.objects,
                open_inventory(settings),
                AbandonedFiles(settings),
                state,
            )

    def sql(self, *statements: str) -> None:
        assert self.profile.logins is not None
        with self.profile.logins.admin.connect() as connection:
            for statement in statements:
                connection.execute(statement)


@pytest.fixture(scope="module")
def place(
    module_profile: ProfileUnderTest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A home with a published picture, published wells and a refused file."""
    folder = tmp_path_factory.mktemp("doctor")
    picture, source, letter = (
        folder / "landsat.tif",
        folder / "wells.geojson",
        folder / "letter.gpkg",
    )
    shutil.copyfile(SAMPLES / "san_francisco_landsat7.tif", picture)
    source.write_text(wells(3), encoding="utf-8")
    letter.write_text("SQLite format 3\0 header of no database", encoding="utf-8")
    with commands(module_profile, folder / "home") as give:
        assert give("doctor")["findings"] == [], "nothing was ever done here"
        assert list(folder.glob("home/store")) == []
        give("ingest", picture)
        give("ingest", source)
        give("ingest", letter, exit_code=1)
        yield Place(folder / "home", module_profile, give, source)


@pytest.fixture(autouse=True)
def _clean_before_and_after(place: Place) -> Iterator[None]:
    yield
    assert place.doctor()["findings"] == []


def test_no_findings_after_ingest_refusal_replacement_restore_and_withdrawal(
    place: Place,
) -> None:
    compared = place.doctor()["compared"]
    assert (compared["items"], compared["partitions"]) == (2, 2)
    assert compared["objects"] >= 5
    assert compared["messages"] >= 8
    place.wells.write_text(wells(5), encoding="utf-8")
    place.give("ingest", place.wells)
    place.give("rollback", "wells")
    assert place.doctor()["compared"]["versions"] == 1
    place.give("unpublish", "wells")
    assert place.doctor()["findings"] == []
    place.give("cleanup", "--older-than-days", "0")
    assert place.doctor()["findings"] == [], (
        "a partition whose item was withdrawn and removed had its result"
    )
    place.give("ingest", place.wells, "--force")


def test_a_run_without_a_process_is_found_before_it_is_marked(place: Place) -> None:
    with place.instance() as instance:
        run = instance.create_run_for_job(
            hello_world_job(), tags=tags_of_a_dead_process(), status=dg.DagsterRunStatus.STARTED
        )
    finding = place.found()
    assert (finding["code"], finding["concerns"]) == ("RUN_WITHOUT_PROCESS", f"run {run.run_id}")
    assert "gone" in finding["says"]
    assert socket.gethostname() in finding["says"]
    assert status_of(place, run.run_id) is dg.DagsterRunStatus.STARTED, "looking marks nothing"
    assert place.fixed()["did"] == "marked as failed"
    assert status_of(place, run.run_id) is dg.DagsterRunStatus.FAILURE


def test_a_run_of_a_living_process_or_of_another_host_is_no_finding(place: Place) -> None:
    from geo_platform.storage.local.process import this_process

    with place.instance() as instance:
        tagged = [
            {PROCESS_TAG: this_process(), HOST_TAG: socket.gethostname()},
            {PROCESS_TAG: "1.1", HOST_TAG: "elsewhere"},
        ]
        runs = [
            instance.create_run_for_job(
                hello_world_job(), tags=tags, status=dg.DagsterRunStatus.STARTED
            )
            for tags in tagged
        ]
    document = place.doctor("--fix")
    assert document["findings"] == document["mended"] == []
    assert [runs[1].run_id in note and "elsewhere" in note for note in document["notes"]] == [True]
    with place.instance() as instance:
        assert {instance.get_run_by_id(run.run_id).status for run in runs} == {
            dg.DagsterRunStatus.STARTED
        }  # type: ignore[union-attr]
        for run in runs:
            instance.report_run_failed(run)


def test_slots_of_ended_and_of_dead_runs_are_freed(place: Place) -> None:
    with place.instance() as instance:
        ended = instance.create_run_for_job(hello_world_job(), status=dg.DagsterRunStatus.FAILURE)
        dead = instance.create_run_for_job(
            hello_world_job(), tags=tags_of_a_dead_process(), status=dg.DagsterRunStatus.STARTED
        )
        instance.event_log_storage.set_concurrency_slots("coppers", 2)
        for run in (ended, dead):
            instance.event_log_storage.claim_concurrency_slot("coppers", run.run_id, "a_step")
    findings = place.doctor(exit_code=1)["findings"]
    assert [finding["code"] for finding in findings] == [
        "RUN_WITHOUT_PROCESS",
        "POOL_HELD_BY_DEAD_RUN",
        "POOL_HELD_BY_DEAD_RUN",
    ]
    assert all(finding["concerns"] == "pool coppers" for finding in findings[1:])
    assert [done["done"] for done in place.doctor("--fix")["mended"]] == [True, True, True]
    with place.instance() as instance:
        assert instance.event_log_storage.get_concurrency_info("coppers").claimed_slots == []
        instance.event_log_storage.delete_concurrency_limit("coppers")


def test_an_item_whose_object_is_missing_or_changed_needs_a_person(place: Place) -> None:
    item = place.give("show", "landsat")
    keys = {name: item["assets"][name]["geo_platform:key"] for name in ("data", "thumbnail")}
    place.objects.delete(SILVER, keys["data"])
    place.objects.put_bytes(SILVER, keys["thumbnail"], b"another picture", metadata={})
    with place.instance() as instance:
        at_work = instance.create_run_for_job(hello_world_job(), status=dg.DagsterRunStatus.STARTED)
    place.objects.put_bytes(
        SILVER, keys["thumbnail"], b"the next picture", metadata={"run_id": at_work.run_id}
    )
    assert "thumbnail" not in place.found()["says"], "a run that recreates it is active"
    with place.instance() as instance:
        instance.report_run_failed(at_work)
    finding = place.found()
    assert (finding["code"], finding["concerns"], finding["fixable"]) == (
        "ITEM_WITHOUT_OBJECT",
        "item rasters/landsat",
        False,
    )
    assert f"{keys['data']} is gone" in finding["says"]
    assert f"{keys['thumbnail']} differs from" in finding["says"]
    assert "--force" in finding["remedy"]
    assert place.doctor("--fix", exit_code=1)["mended"] == []
    place.give("ingest", place.wells.with_name("landsat.tif"), "--force")


def test_unreferenced_objects_are_removed(place: Place) -> None:
    folder, stray = f"rasters/lost/{'a1' * 16}", "by_hand/notes.txt"
    with place.instance() as instance:
        ended = instance.create_run_for_job(
            hello_world_job(), status=dg.DagsterRunStatus.FAILURE
        ).run_id
        at_work = instance.create_run_for_job(hello_world_job(), status=dg.DagsterRunStatus.STARTED)
    place.objects.put_bytes(
        SILVER, f"{folder}/lost.tif", b"bytes", metadata={"run_id": at_work.run_id}
    )
    assert place.doctor()["findings"] == [], "a run is creating it"
    place.objects.put_bytes(SILVER, f"{folder}/lost.tif", b"bytes", metadata={"run_id": ended})
    assert place.found()["code"] == "OBJECT_WITHOUT_ITEM"
    left = place.doctor("--fix", exit_code=1)
    assert "runs are under way" in left["mended"][0]["did"], "a run may publish it soon"
    with place.instance() as instance:
        instance.report_run_failed(at_work)
    assert place.fixed()["concerns"] == f"silver/{folder}"
    assert list(place.objects.list(SILVER, folder)) == []

    place.objects.put_bytes(SILVER, stray, b"mine", metadata={})
    place.objects.put_bytes(
        SILVER, f"{folder}/old.tif", b"bytes", metadata={"run_id": "of another Dagster"}
    )
    assert place.doctor()["findings"] == []
    tomorrow = datetime.now(UTC) + timedelta(days=1, minutes=1)
    with place.stores() as stores:
        found = [
            f
            for f in examine(stores, now_utc=tomorrow).findings
            if f.code is FindingCode.OBJECT_WITHOUT_ITEM
        ]
        assert [(finding.concerns, finding.mend is not None) for finding in found] == [
            ("silver/by_hand", False),
            (f"silver/{folder}", True),
        ]
        assert [done.is_done for done in mend(found, stores, now_utc=tomorrow)] == [True]
    assert [stored.reference.key for stored in place.objects.list(SILVER, "by_hand")] == [stray]
    place.objects.delete(SILVER, stray)


def test_an_object_published_after_the_finding_is_not_removed(place: Place) -> None:
    """Find an object as unreferenced, and publish it before it is removed."""
    item = place.give("show", "landsat")
    key = item["assets"]["data"]["geo_platform:key"]
    place.give("unpublish", "landsat")
    with place.stores() as stores:
        nothing_kept = _WithoutVersions(stores.catalog)
        found = examine(replace(stores, catalog=nothing_kept), now_utc=datetime.now(UTC)).findings  # type: ignore[arg-type]
        left = [finding for finding in found if finding.code is FindingCode.OBJECT_WITHOUT_ITEM]
        assert any(key.startswith(finding.concerns.removeprefix("silver/")) for finding in left)
        assert [done.is_done for done in mend(left, stores, now_utc=datetime.now(UTC))] == [
            False
        ] * len(left)
    assert place.objects.stat(SILVER, key)
    place.give("rollback", "landsat")


def test_scratch_and_half_written_files_of_dead_processes_are_removed(place: Place) -> None:
    from geo_platform.storage.local.atomic import new_incoming

    dead = tags_of_a_dead_process()[PROCESS_TAG]
    scratch = place.home / "scratch" / f"{dead}--0a1b2c3d-left"
    scratch.mkdir(parents=True)
    (scratch / "half.tif").write_bytes(b"II*")
    mine = new_incoming(place.home / "store")
    half = mine.with_name(f"{mine.name.partition('-')[0]}-{dead}-{'0' * 32}")
    for path in (mine, half):
        path.write_bytes(b"half")
    findings = place.doctor(exit_code=1)["findings"]
    assert [finding["code"] for finding in findings] == ["STAGING_LEFT"] * 2
    assert {finding["concerns"] for finding in findings} == {
        f"scratch folder {scratch.name}",
        f"file store/.incoming/{half.name}",
    }
    assert place.doctor("--fix")["findings"] == []
    assert mine.exists()
    assert not scratch.exists()
    assert not half.exists()
    mine.unlink()


def test_partitions_without_a_result(place: Place) -> None:
    with place.instance() as instance:
        instance.add_dynamic_partitions("raster_objects", ["never/came.tif"])
    finding = place.found()
    assert (finding["code"], finding["fixable"]) == ("PARTITION_WITHOUT_RESULT", True)
    place.fixed()
    with place.instance() as instance:
        assert not instance.has_dynamic_partition("raster_objects", "never/came.tif")
        instance.add_dynamic_partitions("raster_objects", ["waits.tif"])
    place.objects.put_bytes("bronze", "waits.tif", b"II*", metadata={})
    assert place.doctor()["findings"] == [], "its run may start soon"
    (late,) = place.examined(datetime.now(UTC) + timedelta(hours=1)).findings
    assert late.mend is None
    assert "launch the job" in late.remedy
    with place.instance() as instance:
        instance.delete_dynamic_partition("raster_objects", "waits.tif")
    place.objects.delete("bronze", "waits.tif")


def test_a_partition_whose_item_another_program_removed(place: Place) -> None:
    with _item_removed_by_another_program(place):
        codes = {finding["code"] for finding in place.doctor(exit_code=1)["findings"]}
        assert "PARTITION_WITHOUT_RESULT" in codes
        assert "OBJECT_WITHOUT_ITEM" in codes
        assert ("TABLE_WITHOUT_ITEM" in codes) == (place.profile.profile is Profile.production)
        text = next(
            f["says"]
            for f in place.doctor(exit_code=1)["findings"]
            if f["code"] == "PARTITION_WITHOUT_RESULT"
        )
        assert "vectors/wells" in text
        assert "no such item is published, kept or withdrawn" in text


def test_messages_of_another_version_or_kind_need_a_person(place: Place) -> None:
    key = next(stored.reference.key for stored in place.objects.list("messages", "raw_raster/"))
    content = place.objects.read_bytes("messages", key)
    later = {**json.loads(content), "schema_version": 999}
    unknown = {"message": "MoonPhase", "schema_version": 1, "content": {}}
    for name, document in (("later", later), ("unknown", unknown)):
        place.objects.put_bytes(
            "messages", f"raw_raster/{name}/run.json", json.dumps(document).encode(), metadata={}
        )
    findings = place.doctor(exit_code=1)["findings"]
    assert [(f["code"], f["concerns"], f["fixable"]) for f in findings] == [
        ("MESSAGE_UNREADABLE", "message raw_raster/later/run.json", False),
        ("MESSAGE_UNREADABLE", "message raw_raster/unknown/run.json", False),
    ]
    assert "999" in findings[0]["says"]
    assert "newer deployment" in findings[0]["says"]
    assert "MoonPhase" in findings[1]["says"]
    for name in ("later", "unknown"):
        place.objects.delete("messages", f"raw_raster/{name}/run.json")


def test_unreferenced_tables_and_items_without_their_table(place: Place) -> None:
    if place.profile.logins is None:
        return
    place.sql("ALTER TABLE geo.wells RENAME TO sources")
    findings = place.doctor(exit_code=1)["findings"]
    assert [(f["code"], f["concerns"], f["fixable"]) for f in findings] == [
        ("ITEM_WITHOUT_TABLE", "item vectors/wells", False)
    ]
    place.sql("ALTER TABLE geo.sources RENAME TO wells")

    version = place.give("show", "wells")["assets"]["table"]["geo_platform:table_version"]
    place.sql(
        f"UPDATE pgstac.items SET content = replace(content::text, '{version}', 'another')::jsonb "
        "WHERE id = 'wells'"
    )
    findings = place.doctor(exit_code=1)["findings"]
    assert [(f["code"], f["fixable"]) for f in findings] == [
        ("ITEM_WITHOUT_TABLE", False),
        ("TABLE_WITHOUT_ITEM", False),
    ]
    assert f"has version {version}, not another" in findings[0]["says"]
    assert place.doctor("--fix", exit_code=1)["mended"] == [], "what is published is never touched"
    place.sql(
        f"UPDATE pgstac.items SET content = replace(content::text, 'another', '{version}')::jsonb "
        "WHERE id = 'wells'"
    )


def test_staged_tables_of_ended_runs_are_dropped(place: Place) -> None:
    if place.profile.logins is None:
        return
    with place.instance() as instance:
        ended = instance.create_run_for_job(
            hello_world_job(), status=dg.DagsterRunStatus.FAILURE
        ).run_id
        at_work = instance.create_run_for_job(hello_world_job(), status=dg.DagsterRunStatus.STARTED)
    for version, run_id in (("left_by_a_run", ended), ("in_the_making", at_work.run_id)):
        stage_table(place.profile.logins.loader, version, 2, run_id=run_id)
    finding = place.found()
    assert (finding["code"], finding["concerns"]) == (
        "STAGING_LEFT",
        "table geo_staging.left_by_a_run",
    )
    assert "runs are under way" in place.doctor("--fix", exit_code=1)["mended"][0]["did"]
    place.sql("ALTER TABLE geo_staging.in_the_making SET SCHEMA geo_replaced")
    with place.instance() as instance:
        instance.report_run_failed(at_work)
    findings = place.doctor(exit_code=1)["findings"]
    assert [(f["code"], f["fixable"]) for f in findings] == [
        ("TABLE_WITHOUT_ITEM", False),
        ("STAGING_LEFT", True),
    ]
    document = place.doctor("--fix", exit_code=1)
    assert [done["did"] for done in document["mended"]] == ["dropped"]
    assert [f["concerns"] for f in document["findings"]] == ["table geo_replaced.in_the_making"]
    place.sql("DROP TABLE geo_replaced.in_the_making")


def test_with_an_unreadable_item_the_rest_is_compared_and_nothing_is_removed(
    place: Place,
) -> None:
    if place.profile.profile is not Profile.embedded:
        return
    path = place.home / "catalog" / "vectors" / "wells" / "wells.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:40])
    finding = place.found()
    assert finding["code"] == "ITEM_UNREADABLE"
    assert "wells" in finding["says"]
    path.write_bytes(whole)


def test_an_unreachable_store_is_reported_and_the_others_are_compared(place: Place) -> None:
    key = f"rasters/lost/{'b2' * 16}/lost.tif"
    with place.instance() as instance:
        ended = instance.create_run_for_job(
            hello_world_job(), status=dg.DagsterRunStatus.FAILURE
        ).run_id
    place.objects.put_bytes(SILVER, key, b"bytes", metadata={"run_id": ended})
    with _unreachable_catalog(place):
        document = place.doctor("--fix", exit_code=3)
        assert {finding["code"] for finding in document["findings"]} == {"STORE_UNREACHABLE"}
        assert "catalog" in {finding["concerns"] for finding in document["findings"]}
        assert document["compared"]["messages"] >= 8
        assert document["mended"] == []
    assert place.found()["code"] == "OBJECT_WITHOUT_ITEM", (
        "what could not be compared was not removed"
    )
    place.fixed()


def test_text_output_is_in_sentences(place: Place) -> None:
    from click.testing import CliRunner

    from geo_platform.cli.main import main

    with place.instance() as instance:
        instance.add_dynamic_partitions("raster_objects", ["never\x1b[2J.tif"])
    result = CliRunner().invoke(main, ["--home", str(place.home), "doctor"])
    assert result.exit_code == 1
    assert result.output.startswith(
        "PARTITION_WITHOUT_RESULT partition never\\x1b[2J.tif of raster_objects\n  The partition "
    )
    assert "1 finding. Compared: 2 items, " in result.output
    assert "geo-platform doctor --fix mends" in result.output
    mended = CliRunner().invoke(main, ["--home", str(place.home), "doctor", "--fix"])
    assert mended.exit_code == 0, mended.output
    assert mended.output.startswith("mended     PARTITION_WITHOUT_RESULT")


class _WithoutVersions:
    """A catalog as it was read before a version was kept."""

    def __init__(self, catalog: Any) -> None:
        self._catalog = catalog

    def versions(self, *_: object) -> Iterator[Any]:
        return iter(())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._catalog, name)


@contextmanager
def _item_removed_by_another_program(place: Place) -> Iterator[None]:
    if place.profile.profile is Profile.embedded:
        path = place.home / "catalog" / "vectors" / "wells" / "wells.json"
        kept = path.read_bytes()
        path.unlink()
        versions, aside = path.parent / "versions", place.home / "aside"
        if versions.exists():
            versions.rename(aside)
        yield
        path.write_bytes(kept)
        if aside.exists():
            aside.rename(versions)
        return
    # These are pgSTAC's own functions, which any program may call. The records of earlier
    # withdrawals are set aside meanwhile.
    place.sql(
        "CREATE TABLE public.aside AS SELECT * FROM pgstac.items WHERE id = 'wells'",
        "CREATE TABLE public.aside_versions AS SELECT * FROM geo_platform.item_versions",
        "DELETE FROM geo_platform.item_versions",
        "CREATE TABLE public.aside_provenance AS SELECT * FROM geo_platform.provenance "
        "WHERE action = 'unpublish'",
        "DELETE FROM geo_platform.provenance WHERE action = 'unpublish'",
        "DELETE FROM pgstac.items WHERE id = 'wells'",
    )
    yield
    place.sql(
        "INSERT INTO pgstac.items SELECT * FROM public.aside",
        "INSERT INTO geo_platform.item_versions SELECT * FROM public.aside_versions",
        "INSERT INTO geo_platform.provenance OVERRIDING SYSTEM VALUE "
        "SELECT * FROM public.aside_provenance",
        "DROP TABLE public.aside, public.aside_versions, public.aside_provenance",
    )


@contextmanager
def _unreachable_catalog(place: Place) -> Iterator[None]:
    if place.profile.profile is Profile.production:
        unreachable = "postgresql://nobody@127.0.0.1:1/nothing"
        with patch.dict(os.environ, {"GEO_PLATFORM_POSTGRES_URL": unreachable}):
            yield
        return
    catalog = place.home / "catalog"
    catalog.rename(place.home / "catalog.aside")
    catalog.symlink_to(catalog)  # a loop, which nobody can read
    yield
    catalog.unlink()
    (place.home / "catalog.aside").rename(catalog)


def hello_world_job() -> dg.JobDefinition:
    from geo_platform.definitions import defs

    return defs.resolve_job_def(hello_world.name)


def tags_of_a_dead_process() -> dict[str, str]:
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    assert not is_alive(f"{process.pid}.0")
    return {PROCESS_TAG: f"{process.pid}.1", HOST_TAG: socket.gethostname()}


def status_of(place: Place, run_id: str) -> dg.DagsterRunStatus:
    with place.instance() as instance:
        run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status
