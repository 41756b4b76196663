"""Stored messages load as they were dumped; what cannot be read is refused with the reason."""

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geo_platform.contracts.fault import ContractError
from geo_platform.contracts.lock import project_messages
from geo_platform.contracts.message import Message, Part
from geo_platform.contracts.publication import GreetingPrepared, GreetingSpoken
from geo_platform.contracts.stored import UpgradeRegistry, dump_message, load_message
from geo_platform.grid import Bounds, LonLatBounds

_TIMES = st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(fold=0))
_FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)

st.register_type_strategy(datetime, _TIMES)
st.register_type_strategy(
    Bounds,
    st.builds(
        lambda x, y, w, h: Bounds(xmin=x, ymin=y, xmax=x + w, ymax=y + h),
        _FINITE,
        _FINITE,
        st.floats(0, 1e9),
        st.floats(0, 1e9),
    ),
)
st.register_type_strategy(
    LonLatBounds,
    st.builds(
        lambda west, east, south, north: LonLatBounds(
            west=west, east=east, south=min(south, north), north=max(south, north)
        ),
        *[st.floats(-180, 180)] * 2,
        *[st.floats(-90, 90)] * 2,
    ),
)


@pytest.mark.parametrize("message_class", project_messages(), ids=lambda cls: cls.__name__)
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ],
)
@given(data=st.data())
def test_every_message_of_the_platform_is_loaded_unchanged(
    message_class: type[Message], data: st.DataObject
) -> None:
    message = data.draw(st.from_type(message_class))
    stored = dump_message(message)
    again = load_message(stored, message_class)
    assert _written(again) == _written(message)
    assert dump_message(again) == stored


def _written(message: Message) -> str:
    """Return the message as text: NaN is not equal to itself, and UTC has two spellings."""
    return repr(message).replace("TzInfo(0)", "datetime.timezone.utc")


class Figures(Message):
    value: float
    series: tuple[float, ...]
    by_name: dict[str, float]
    text_or_number: float | str


@given(
    st.floats(),
    st.lists(st.floats(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.floats(), max_size=2),
)
def test_numbers_that_json_cannot_express_are_loaded_unchanged(
    value: float, series: list[float], by_name: dict[str, float]
) -> None:
    figures = Figures(value=value, series=tuple(series), by_name=by_name, text_or_number="NaN")
    stored = dump_message(figures)
    json.loads(stored, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))
    assert repr(load_message(stored, Figures)) == repr(figures)


def test_a_stored_message_is_readable_json() -> None:
    greeting = GreetingPrepared(
        name="Zoë", prepared_at_utc=datetime(2026, 11, 23, 18, 0, tzinfo=UTC)
    )
    assert dump_message(greeting).decode() == (
        '{\n  "message": "GreetingPrepared",\n  "schema_version": 1,\n  "content": {\n'
        '    "name": "Zoë",\n    "prepared_at_utc": "2026-11-23T18:00:00Z"\n  }\n}\n'
    )


def test_times_keep_their_moment() -> None:
    moment = datetime(
        2026, 11, 23, 23, 30, 0, 123456, tzinfo=datetime.now().astimezone().tzinfo
    ) - timedelta(hours=3)
    greeting = GreetingPrepared(name="a", prepared_at_utc=moment)
    assert load_message(dump_message(greeting), GreetingPrepared).prepared_at_utc == moment


def _stored(name: str, version: Any, **content: Any) -> bytes:
    return json.dumps({"message": name, "schema_version": version, "content": content}).encode()


@pytest.mark.parametrize(
    ("stored", "line"),
    [
        (
            _stored("GreetingSpoken", 2, text="a"),
            "stored GreetingSpoken version 2 -> {reader}: it was stored by a newer deployment",
        ),
        (
            _stored("CogStored", 1, text="a"),
            "stored CogStored version 1 -> {reader}: it is another message",
        ),
        (
            _stored("GreetingSpoken", 1, text=1),
            "stored GreetingSpoken version 1 -> {reader} `text`: Input should be a valid string",
        ),
    ],
)
def test_an_unreadable_message_is_refused_with_its_name_and_version(
    stored: bytes, line: str
) -> None:
    with pytest.raises(ContractError) as raised:
        load_message(stored, GreetingSpoken)
    assert [str(fault) for fault in raised.value.faults] == [
        line.format(reader="reader of GreetingSpoken version 1: cannot be read")
    ]


@pytest.mark.parametrize(
    "stored",
    [b"", b"\xff", b"[]", b"{}", b'{"text": "a"}', _stored("GreetingSpoken", True, text="a"),
     _stored("GreetingSpoken", 0, text="a"), _stored("GreetingSpoken", "1", text="a"),
     b'{"message": "GreetingSpoken", "schema_version": 1, "content": []}',
     b'{"message": "GreetingSpoken", "schema_version": 1, '
     b'"content": {"text": {"$float": "many"}}}'],
)  # fmt: skip
def test_bytes_that_are_no_message_are_refused(stored: bytes) -> None:
    with pytest.raises(
        ContractError, match=r"stored bytes -> reader of GreetingSpoken version 1: cannot be read"
    ):
        load_message(stored, GreetingSpoken)


def test_every_field_that_does_not_fit_is_named() -> None:
    with pytest.raises(ContractError) as raised:
        load_message(_stored("GreetingSpoken", 1, txt="a"), GreetingSpoken)
    assert [fault.field for fault in raised.value.faults] == ["text", "txt"]


class Extent(Part):
    west: float
    east: float


class Surveyed(Message):
    schema_version: ClassVar[int] = 3
    extent: Extent
    surveyor: str


def _registry() -> UpgradeRegistry:
    registry = UpgradeRegistry()

    @registry.upgrades(Surveyed, from_version=1)
    def nest_the_extent(content: dict[str, Any]) -> dict[str, Any]:
        return {"extent": {"west": content["west"], "east": content["east"]}}

    @registry.upgrades(Surveyed, from_version=2)
    def name_the_surveyor(content: dict[str, Any]) -> dict[str, Any]:
        return content | {"surveyor": "unknown"}

    return registry


def test_an_older_message_goes_through_each_upgrade_in_turn() -> None:
    registry = _registry()
    expected = Surveyed(extent=Extent(west=-math.inf, east=2.0), surveyor="unknown")
    first = _stored("Surveyed", 1, west={"$float": "-Infinity"}, east=2.0)
    second = _stored("Surveyed", 2, extent={"west": {"$float": "-Infinity"}, "east": 2.0})
    assert load_message(first, Surveyed, registry=registry) == expected
    assert load_message(second, Surveyed, registry=registry) == expected


def test_without_an_upgrade_both_versions_are_named() -> None:
    registry = UpgradeRegistry()
    registry.upgrades(Surveyed, from_version=1)(lambda content: content)
    with pytest.raises(
        ContractError,
        match="stored Surveyed version 1 -> reader of Surveyed version 3: cannot be read: "
        "no upgrade is registered from version 2",
    ):
        load_message(_stored("Surveyed", 1), Surveyed, registry=registry)


def test_an_upgrade_is_registered_once_and_from_an_older_version() -> None:
    registry = _registry()
    with pytest.raises(ValueError, match="already has an upgrade from version 1"):
        registry.upgrades(Surveyed, from_version=1)
    with pytest.raises(ValueError, match="3 is not an older version"):
        registry.upgrades(Surveyed, from_version=3)
    with pytest.raises(ValueError, match="0 is not an older version"):
        registry.upgrades(Surveyed, from_version=0)
