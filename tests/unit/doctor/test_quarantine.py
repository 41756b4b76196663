"""Doctor finds objects in quarantine without a record, and records without an object."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from geo_platform.arrivals.quarantine import Refusal, present_arrival, quarantine
from geo_platform.doctor.findings import FindingCode
from geo_platform.doctor.records import compare_quarantine
from geo_platform.ports import BRONZE, QUARANTINE
from tests.support.memory_objects import MemoryObjects

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
