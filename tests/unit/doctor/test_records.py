"""Doctor checks stored messages, records of quarantine, its own codes and process ids."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from geo_platform.arrivals.quarantine import Refusal, present_arrival, quarantine
from geo_platform.contracts.publication import GreetingSpoken
from geo_platform.contracts.stored import dump_message
from geo_platform.doctor.findings import MEANING, FindingCode
from geo_platform.doctor.records import compare_quarantine, fault_of, known_messages
from geo_platform.ports import BRONZE, QUARANTINE
from geo_platform.storage.local.process import is_alive_since, this_process
from tests.support.memory_objects import MemoryObjects

ROOT = Path(__file__).resolve().parents[3]


def test_every_message_in_the_lock_file_is_known() -> None:
    locked = json.loads((ROOT / "contracts.lock.json").read_text("utf-8"))
    assert set(known_messages()) == set(locked)


def test_the_fault_of_unreadable_bytes_is_named() -> None:
    known = known_messages()
    good = json.loads(dump_message(GreetingSpoken(text="hello")))
    assert fault_of(json.dumps(good).encode(), known) is None
    assert "newer deployment" in str(
        fault_of(json.dumps({**good, "schema_version": 999}).encode(), known)
    )
    assert "'MoonPhase' version 1 is not a message" in str(
        fault_of(json.dumps({**good, "message": "MoonPhase"}).encode(), known)
    )
    assert "GreetingSpoken version" in str(
        fault_of(json.dumps({**good, "content": {}}).encode(), known)
    )
    for bytes_ in (
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'"text"',
        b'{"message": []}',
        json.dumps({**good, "message": ["x"]}).encode(),
    ):
        assert fault_of(bytes_, known) is not None


def test_every_code_has_a_meaning_and_a_row_in_the_docs() -> None:
    page = (ROOT / "docs" / "doctor.md").read_text("utf-8")
    assert set(MEANING) == set(FindingCode)
    assert [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")] == [
        code.value for code in FindingCode
    ]


def test_a_reused_process_id_is_not_the_recorded_process() -> None:
    import time

    pid = int(this_process().partition(".")[0])
    assert is_alive_since(pid, time.time())
    assert not is_alive_since(pid, time.time() - 10 * 365 * 86400), (
        "the process started long after that moment"
    )
    assert not is_alive_since(2**22 + 1, time.time())


WRITTEN = datetime(2026, 6, 1, tzinfo=UTC)
LATER = WRITTEN + timedelta(minutes=11)


@pytest.fixture
def store() -> Any:
    made: Any = MemoryObjects()
    for key in ("a.tif", "a.tfw"):
        made.put_bytes(BRONZE, key, b"x", metadata={})
    present = present_arrival(made, BRONZE, "a.tif")
    assert present is not None
    quarantine(
        made,
        BRONZE,
        "a.tif",
        present[0].etag,
        Refusal("CRS_MISSING", "m", "r", "run", "scenes"),
        now_utc=WRITTEN,
    )
    return made


def found(store: Any, now_utc: datetime = LATER) -> list[str]:
    findings = list(compare_quarantine(store, lambda: None, now_utc=now_utc))
    assert all(
        finding.code is FindingCode.QUARANTINE_INCOMPLETE and finding.mend is None
        for finding in findings
    )
    return [finding.concerns for finding in findings]


def test_a_complete_arrival_is_no_finding(store: Any) -> None:
    assert found(store) == []


def test_an_object_without_a_record_is_a_finding(store: Any) -> None:
    store.put_bytes(QUARANTINE, "a.prj", b"by hand", metadata={})
    assert found(store) == ["quarantine/a.prj"]


def test_a_record_without_its_object_is_a_finding_after_the_time_of_a_move(store: Any) -> None:
    store.delete(QUARANTINE, "a.tif")
    assert (found(store, WRITTEN), found(store)) == ([], ["quarantine/a.tif.quarantine.json"])


def test_an_unreadable_record_is_a_finding(store: Any) -> None:
    store.delete(QUARANTINE, "a.tfw")
    store.put_bytes(QUARANTINE, "a.tif.quarantine.json", b"{", metadata={})
    assert found(store) == ["quarantine/a.tif.quarantine.json"]


def test_an_object_released_during_the_comparison_is_no_finding(store: Any) -> None:
    listed = list(store.list(QUARANTINE))
    for stored in listed:
        store.delete(QUARANTINE, stored.reference.key)
    store.list = lambda container: iter(listed)
    assert found(store) == []
