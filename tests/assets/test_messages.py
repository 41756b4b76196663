"""Messages between stages are stored as readable JSON; unreadable ones are refused with a code."""

import json
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from assets.hello import prepared_greeting, spoken_greeting
from geo_platform.contracts.publication import GreetingPrepared
from geo_platform.ports import MESSAGES
from geo_platform.storage.local.folder import FolderStore
from resources.io_manager import MessageIOManager


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def _run(
    store: FolderStore, *, only: str | None = None, name: str = "world"
) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [prepared_greeting, spoken_greeting],
        selection=only,
        resources={"io_manager": MessageIOManager(store)},
        run_config={"ops": {"prepared_greeting": {"config": {"name": name}}}}
        if only is None
        else None,
        raise_on_error=False,
    )


def test_a_message_is_json_with_its_type_version_and_run(store: FolderStore) -> None:
    done = _run(store)
    assert done.success
    (stored,) = store.list(MESSAGES, "prepared_greeting/")
    assert stored.reference.key == f"prepared_greeting/{done.run_id}.json"
    assert stored.metadata["run_id"] == done.run_id
    text = store.read_bytes(MESSAGES, stored.reference.key).decode()
    envelope = json.loads(text)
    assert (envelope["message"], envelope["schema_version"]) == ("GreetingPrepared", 1)
    assert "\n" in text.strip(), "the JSON is indented for people"


def test_a_message_that_cannot_be_stored_fails_with_the_code_of_the_store(
    store: FolderStore,
) -> None:
    store.root.mkdir()
    (store.root / MESSAGES).write_text("in the way")
    done = _run(store)
    (failed,) = [event for event in done.all_events if event.is_step_failure]
    failure = failed.step_failure_data.user_failure_data
    assert failure is not None
    assert failure.metadata["code"].value == "STORE_DENIED"


def test_a_stage_that_runs_alone_reads_the_latest_message(store: FolderStore) -> None:
    _run(store, name="first")
    _run(store, name="second")
    alone = _run(store, only="spoken_greeting")
    assert alone.success
    assert alone.asset_value("spoken_greeting").text == "hello second"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"schema_version": 7}, "7"),
        ({"message": "GreetingSpoken"}, "GreetingSpoken"),
        ({"content": {"name": 3}}, "name"),
    ],
    ids=["a newer version", "another message", "another shape"],
)
def test_an_unreadable_message_fails_with_a_code_and_is_not_retried(
    store: FolderStore, change: dict[str, object], named: str
) -> None:
    first = _run(store)
    key = f"prepared_greeting/{first.run_id}.json"
    envelope = json.loads(store.read_bytes(MESSAGES, key))
    store.put_bytes(MESSAGES, key, json.dumps({**envelope, **change}).encode(), metadata={})
    failed = _run(store, only="spoken_greeting")
    (event,) = [event for event in failed.all_events if event.is_step_failure]
    failure = event.step_failure_data.user_failure_data
    assert failure is not None
    assert failure.metadata["code"].value == "MESSAGE_UNREADABLE"
    assert named in str(failure.description)
    assert "from its first stage" in str(failure.metadata["remedy"].value)
    assert _run(store).success
    assert _run(store, only="spoken_greeting").success


def test_a_missing_message_names_the_stage_before(store: FolderStore) -> None:
    failed = _run(store, only="spoken_greeting")
    (event,) = [event for event in failed.all_events if event.is_step_failure]
    failure = event.step_failure_data.user_failure_data
    assert failure is not None
    assert failure.metadata["code"].value == "SOURCE_NOT_FOUND"
    assert "prepared_greeting" in str(failure.description)


def test_a_message_is_frozen_and_closed() -> None:
    message = GreetingPrepared(name="x", prepared_at_utc=datetime.now(UTC))
    with pytest.raises(ValueError, match="frozen"):
        message.name = "y"  # type: ignore[misc]
    with pytest.raises(ValueError, match="extra_forbidden"):
        GreetingPrepared.model_validate(
            {"name": "x", "prepared_at_utc": datetime.now(UTC), "more": 1}
        )
