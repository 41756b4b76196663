"""The lock: reviewable shapes, and no change of a shape without its version."""

import json
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field, create_model

from geo_platform.contracts.fault import ContractError
from geo_platform.contracts.lock import check_lock, project_messages, shape_of, write_lock
from geo_platform.contracts.message import Message, Part, UtcTime

ROOT = Path(__file__).parents[3]


class Mode(StrEnum):
    slow = "slow"
    fast = "fast"


class Band(Part):
    dtype: str
    nodata: float | None = None


class Leaf(Part):
    name: str
    leaves: tuple["Leaf", ...]


def _message(version: int = 1, **fields: Any) -> type[Message]:
    message = create_model(
        "Surveyed", __base__=Message, **{name: (hint, ...) for name, hint in fields.items()}
    )
    message.schema_version = version
    return message


def test_the_committed_lock_agrees_with_the_messages() -> None:
    assert [str(fault) for fault in check_lock(ROOT / "contracts.lock.json")] == []


def test_a_shape_is_flat_sorted_and_complete() -> None:
    class Surveyed(Message):
        bands: tuple[Band, ...]
        mode: Mode | None
        quality: int = Field(85, ge=1, le=100, description="not part of the shape")
        taken_at_utc: UtcTime
        by_name: dict[str, Band]
        kind: Literal["a", "b"]
        corners: tuple[float, float]

    assert shape_of(Surveyed) == {
        "bands": "tuple[Band, ...]",
        "bands[].dtype": "str",
        "bands[].nodata": "float | None; may be left out",
        "by_name": "dict[str, Band]",
        "by_name[].dtype": "str",
        "by_name[].nodata": "float | None; may be left out",
        "corners": "tuple[float, float]",
        "kind": "Literal['a', 'b']",
        "mode": "Mode | None",
        "mode <Mode>": "fast | slow",
        "quality": "int; ge=1; le=100; may be left out",
        "taken_at_utc": "datetime",
    }


def test_a_record_inside_itself_is_written_out_once() -> None:
    class Tree(Message):
        root: Leaf

    assert list(shape_of(Tree)) == ["root", "root.leaves", "root.name"]


def test_the_order_of_fields_and_enum_members_is_not_the_shape() -> None:
    assert shape_of(_message(a=int, b=str)) == shape_of(_message(b=str, a=int))


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"rows": int, "label": str},
         "lock.json -> Surveyed: shape and schema_version disagree `label`: "
         "producer gives nothing, consumer takes str"),
        ({"rows": float}, "lock.json -> Surveyed: shape and schema_version disagree `rows`: "
                          "producer gives int, consumer takes float"),
        ({}, "lock.json -> Surveyed: shape and schema_version disagree `rows`: "
             "producer gives int, consumer takes nothing"),
    ],
)  # fmt: skip
def test_a_changed_shape_under_an_unchanged_version_is_found_and_not_written(
    tmp_path: Path, fields: dict[str, Any], line: str
) -> None:
    lock = tmp_path / "lock.json"
    write_lock(lock, [_message(rows=int)])
    before, changed = lock.read_bytes(), _message(**fields)
    expected = (
        f"{line} (shape changed, schema_version is still 1; raise it and register an upgrade)"
    )
    assert [str(fault) for fault in check_lock(lock, [changed])] == [expected]
    with pytest.raises(ContractError) as raised:
        write_lock(lock, [changed])
    assert [str(fault) for fault in raised.value.faults] == [expected]
    assert lock.read_bytes() == before


def test_a_raised_version_is_found_until_it_is_written(tmp_path: Path) -> None:
    lock = tmp_path / "lock.json"
    write_lock(lock, [_message(rows=int)])
    raised = _message(2, rows=float)
    assert "Surveyed is version 2, the lock holds 1" in str(check_lock(lock, [raised])[0])
    assert write_lock(lock, [raised]) == ["Surveyed"]
    assert check_lock(lock, [raised]) == []
    assert json.loads(lock.read_text()) == {
        "Surveyed": {"schema_version": 2, "shape": {"rows": "float"}}
    }


def test_a_version_never_goes_down(tmp_path: Path) -> None:
    lock = tmp_path / "lock.json"
    write_lock(lock, [_message(2, rows=int)])
    with pytest.raises(ContractError, match="schema_version decreased from 2 to 1"):
        write_lock(lock, [_message(1, rows=int)])


def test_writing_returns_the_changes_and_none_the_second_time(tmp_path: Path) -> None:
    lock = tmp_path / "lock.json"
    assert write_lock(lock, [_message(rows=int)]) == ["Surveyed"]
    assert write_lock(lock, [_message(rows=int)]) == []
    assert write_lock(lock, []) == ["Surveyed"]
    assert [path.name for path in tmp_path.iterdir()] == ["lock.json"]


def test_a_removed_message_is_found_when_all_messages_are_checked(tmp_path: Path) -> None:
    lock = tmp_path / "lock.json"
    write_lock(lock, [*project_messages(), _message(rows=int)])
    assert [str(fault) for fault in check_lock(lock)] == [
        "lock.json -> Surveyed: shape and schema_version disagree: "
        "Surveyed is in the lock but is not a message any more; run `geo-platform contracts lock`"
    ]


@pytest.mark.parametrize("content", ["", "[]", '{"Surveyed": 1}', '{"Surveyed": {"shape": {}}}'])
def test_an_invalid_lock_file_is_refused(tmp_path: Path, content: str) -> None:
    lock = tmp_path / "lock.json"
    lock.write_text(content)
    with pytest.raises(
        ContractError, match="is not a valid contracts lock; restore it from version control"
    ):
        check_lock(lock)


def test_the_messages_of_the_platform_are_found_without_those_of_tests() -> None:
    names = [message.__name__ for message in project_messages()]
    assert names == sorted(names)
    assert {
        "ObjectArrived",
        "RasterProfiled",
        "CogStored",
        "VectorProfiled",
        "FeaturesLoaded",
        "ItemPublished",
    } <= set(names)
    assert not {"Surveyed", "Tree"} & set(names)
    assert all(shape_of(message) for message in project_messages())
    assert (
        datetime.__name__
        in shape_of(next(m for m in project_messages() if m.__name__ == "ObjectArrived"))[
            "last_modified_utc"
        ]
    )
