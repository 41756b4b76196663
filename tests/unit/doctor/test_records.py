"""Doctor knows every stored message, explains every code, and detects a reused process id."""

import json
from pathlib import Path

from geo_platform.contracts.publication import GreetingSpoken
from geo_platform.contracts.stored import dump_message
from geo_platform.doctor.findings import MEANING, FindingCode
from geo_platform.doctor.records import fault_of, known_messages
from geo_platform.storage.local.process import is_alive_since, this_process

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
