"""The rules of compatibility as a table, and a property test that pydantic reads what fits."""

import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model

from geo_platform.contracts.compatibility import faults
from geo_platform.contracts.fault import FaultKind as Kind
from geo_platform.contracts.message import Message
from geo_platform.contracts.raster import OutputTier, RasterProfiled, RasterType


class Tier(StrEnum):
    fast = "fast"
    small = "small"


class NarrowTier(StrEnum):
    fast = "fast"


class PlainTier(Enum):
    fast = "fast"


class Level(IntEnum):
    low = 1


Metres = NewType("Metres", float)


@pytest.mark.parametrize(
    ("given_type", "taken_type"),
    [
        (int, int),
        (int, float),
        (str, object),
        (list[int], object),
        (None, None),
        (Metres, float),
        (Annotated[int, "rows"], int),
        (int, int | None),
        (int, str | float | None),
        (int | None, float | None),
        (int | str, str | float),
        (Literal["a"], Literal["a", "b"]),
        (Literal["a", "b"], Literal["a"] | Literal["b"]),
        (Literal["a", "b"], str),
        (Literal[1], float),
        (Literal["a", None], str | None),
        (Literal[None], None),
        (type[int] | None, type[int] | None),
        (NarrowTier, Tier),
        (Tier, str),
        (Level, int),
        (Tier, Literal["fast", "small", "slow"]),
        (Literal[PlainTier.fast], PlainTier),
        (list[int], list[float]),
        (list[int], Sequence[int]),
        (tuple[int, int], tuple[int, ...]),
        (tuple[int, int], tuple[float, float]),
        (tuple[int, bool], Sequence[int | bool]),
        (tuple[()], tuple[str, ...]),
        (dict[str, int], Mapping[str, float]),
        (set[int], set[int]),
        (type[int], type[int]),
        (Callable[[int], str], Callable[[int], str]),
        (datetime, datetime),
        (RasterProfiled, RasterProfiled),
        (RasterProfiled, RasterProfiled | None),
    ],
)
def test_fits(given_type: Any, taken_type: Any) -> None:
    assert faults(given_type, taken_type) == []


@pytest.mark.parametrize(
    ("given_type", "taken_type", "kind", "path"),
    [
        (float, int, Kind.wrong_type, ""),
        (bool, int, Kind.wrong_type, ""),
        (bool, float, Kind.wrong_type, ""),
        (Literal[True], int, Kind.wrong_type, ""),
        (str, int, Kind.wrong_type, ""),
        (None, int, Kind.wrong_type, ""),
        (datetime, date, Kind.wrong_type, ""),
        (int | None, int, Kind.optional_into_required, ""),
        (int | str, int, Kind.wrong_type, ""),
        (list[int | None], list[int], Kind.optional_into_required, "[]"),
        (str, Tier, Kind.wrong_type, ""),
        (Literal["fast"], Tier, Kind.wrong_type, ""),
        (PlainTier, str, Kind.wrong_type, ""),
        (PlainTier, Literal["fast"], Kind.wrong_type, ""),
        (Tier, NarrowTier, Kind.narrowed_values, ""),
        (OutputTier, RasterType, Kind.narrowed_values, ""),
        (Literal["a", "b"], Literal["a"], Kind.narrowed_values, ""),
        (Literal[1], Literal[True], Kind.narrowed_values, ""),
        (list[int], tuple[int, ...], Kind.wrong_type, ""),
        (list[int], int, Kind.wrong_type, ""),
        (int, list[int], Kind.wrong_type, ""),
        (str, Sequence[str], Kind.wrong_type, ""),
        (tuple[int, ...], tuple[int, int], Kind.wrong_type, ""),
        (tuple[int, int], tuple[int, int, int], Kind.wrong_type, ""),
        (tuple[int, str], tuple[int, int], Kind.wrong_type, "[1]"),
        (tuple[int, str], Sequence[int], Kind.wrong_type, "[]"),
        (dict[str, int], dict[str, str], Kind.wrong_type, "{}"),
        (dict[int, int], dict[str, int], Kind.wrong_type, "{key}"),
        (dict[str, list[int]], dict[str, list[str]], Kind.wrong_type, "{}[]"),
        (Callable[[int], str], Callable[[int], int], Kind.wrong_type, ""),
        (Any, int, Kind.no_annotation, ""),
        (int, Any, Kind.no_annotation, ""),
        (list, list, Kind.no_annotation, "[]"),
        (dict, dict, Kind.no_annotation, "{}"),
        (tuple, tuple, Kind.no_annotation, "[]"),
        (list[Any], list[int], Kind.no_annotation, "[]"),
        (int | Any, int | Any, Kind.no_annotation, ""),
        (None, int | str, Kind.optional_into_required, ""),
        (Literal["a", None], str, Kind.optional_into_required, ""),
        (Literal["a", "b"], Literal["a"] | None, Kind.narrowed_values, ""),
        (Literal["a", "c"], Literal["a"] | Literal["b"], Kind.wrong_type, ""),
    ],
)
def test_does_not_fit(given_type: Any, taken_type: Any, kind: Kind, path: str) -> None:
    assert (kind, path) in {(fault.kind, fault.field) for fault in faults(given_type, taken_type)}


class Band(BaseModel):
    model_config = ConfigDict(extra="forbid")
    dtype: str
    nodata: float | None = None


class BandRenamed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    data_type: str
    nodata: float | None = None


class Profile(BaseModel):
    bands: tuple[Band, ...]
    epsg: int | None
    tier: Tier


def _lines(given_type: Any, taken_type: Any) -> list[str]:
    return [str(fault) for fault in faults(given_type, taken_type)]


def test_a_renamed_field_is_named_on_both_sides() -> None:
    assert _lines(Band, BandRenamed) == [
        "missing field `data_type`: producer gives nothing, consumer takes str (renamed "
        "from `dtype`?)",
        "extra field `dtype`: producer gives str, consumer takes nothing",
    ]


def test_every_difference_is_listed_with_its_path() -> None:
    seen = create_model(
        "ProfileSeen",
        bands=(tuple[BandRenamed, ...], ...),
        epsg=(int, ...),
        tier=(NarrowTier, ...),
        size=(float, ...),
    )
    assert _lines(Profile, seen) == [
        "missing field `bands[].data_type`: producer gives nothing, consumer takes str "
        "(renamed from `dtype`?)",
        "extra field `bands[].dtype`: producer gives str, consumer takes nothing",
        "optional fed into required `epsg`: producer gives int | None, consumer takes int",
        "narrowed values `tier`: producer gives Tier, consumer takes NarrowTier (the "
        "consumer does not know small)",
        "missing field `size`: producer gives nothing, consumer takes float",
    ]


def test_an_open_consumer_takes_extra_fields_and_a_defaulted_one_may_be_missing() -> None:
    open_consumer = create_model("Open", dtype=(str, ...), unit=(str | None, None))
    assert faults(Band, open_consumer) == []


def test_a_required_producer_field_with_a_default_is_always_given() -> None:
    assert faults(Band, create_model("Strict", dtype=(str, ...), nodata=(float | None, ...))) == []


def test_types_of_one_name_are_told_apart_by_their_modules() -> None:
    other = Enum("Tier", {"fast": "fast"}, module="elsewhere")
    assert _lines(str, Tier) == ["wrong type: producer gives str, consumer takes Tier"]
    assert "producer gives test_compatibility.Tier" in _lines(Tier, other)[0].replace(
        __name__, "test_compatibility"
    )
    assert "consumer takes elsewhere.Tier" in _lines(Tier, other)[0]


def test_a_closed_model_refuses_the_fields_that_a_subclass_adds() -> None:
    wider = create_model("Wider", __base__=Band, unit=(str, ...))
    assert [(fault.kind, fault.field) for fault in faults(wider, Band)] == [
        (Kind.extra_field, "unit")
    ]


@dataclass
class Point:
    x: float
    y: float
    label: str = ""
    tags: list[str] = field(default_factory=list)


@dataclass
class Point3D(Point):
    z: float = 0.0


class PointModel(BaseModel):
    x: float
    y: float


class PointDict(TypedDict):
    x: float
    y: NotRequired[float]


class PointTuple(NamedTuple):
    x: float
    y: float


@pytest.mark.parametrize("given_type", [Point, PointModel, PointTuple])
@pytest.mark.parametrize("taken_type", [Point, PointModel, PointTuple])
def test_records_of_different_libraries_are_compared_by_field(
    given_type: Any, taken_type: Any
) -> None:
    found = {(fault.kind, fault.field) for fault in faults(given_type, taken_type)}
    extras = {(Kind.extra_field, "label"), (Kind.extra_field, "tags")}
    assert found == (extras if given_type is Point and taken_type is PointTuple else set())


def test_a_field_that_a_typed_dict_may_leave_out_cannot_feed_a_required_one() -> None:
    assert _lines(PointDict, PointModel) == [
        "optional fed into required `y`: producer gives float, consumer takes float (may "
        "be absent)",
    ]


def test_subclass_of_a_plain_class_is_a_value_of_it() -> None:
    assert faults(Point3D, Point) == []
    assert [fault.field for fault in faults(Point, PointTuple)] == ["label", "tags"]


class Tree(BaseModel):
    name: str
    children: list["Tree"]


class TreeSeen(BaseModel):
    name: str
    children: list["TreeSeen"]


class TreeWrong(BaseModel):
    name: int
    children: list["TreeWrong"]


def test_records_inside_themselves_end() -> None:
    assert faults(Tree, TreeSeen) == []
    assert [fault.field for fault in faults(Tree, TreeWrong)] == ["name"]


def test_generic_models_are_compared_with_their_arguments() -> None:
    item = typing.TypeVar("item")

    class Page(BaseModel, typing.Generic[item]):
        rows: list[item]

    assert faults(Page[int], Page[float]) == []
    assert [fault.field for fault in faults(Page[str], Page[int])] == ["rows[]"]
    assert [fault.kind for fault in faults(Page, Page[int])] == [Kind.no_annotation]


def test_a_message_that_only_describes_its_fields_otherwise_fits() -> None:
    one = create_model("Spoken", __base__=Message, text=(str, Field(description="as said")))
    other = create_model("Spoken", __base__=Message, text=(str, Field(description="what was said")))
    assert faults(one, other) == []


_SCALARS: list[Any] = [
    int,
    float,
    bool,
    str,
    type(None),
    Tier,
    NarrowTier,
    Literal["fast"],
    Literal["fast", "small"],
    Literal[1, True],
]


def _records(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    entries = st.dictionaries(
        st.sampled_from(["a", "b", "c"]), st.tuples(inner, st.booleans()), max_size=3
    )
    return st.builds(_record, entries, st.sampled_from(["forbid", "ignore"]))


def _record(
    entries: dict[str, tuple[Any, bool]], extra: Literal["forbid", "ignore"]
) -> type[BaseModel]:
    fields: dict[str, Any] = {
        name: (hint, ...) if required else (hint | None, None)
        for name, (hint, required) in entries.items()
    }
    return create_model("Record", __config__=ConfigDict(extra=extra, strict=True), **fields)


_TYPES = st.recursive(
    st.sampled_from(_SCALARS),
    lambda inner: st.one_of(
        inner.map(lambda hint: list[hint]),
        inner.map(lambda hint: tuple[hint, ...]),
        inner.map(lambda hint: dict[str, hint]),
        st.tuples(inner, inner).map(lambda pair: tuple[pair]),
        st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1]),
        _records(inner),
    ),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(producer=_TYPES, consumer=_TYPES, data=st.data())
def test_pydantic_reads_everything_that_the_rules_allow(
    producer: Any, consumer: Any, data: st.DataObject
) -> None:
    """If there is no fault, pydantic reads the JSON of any value of the producer's type."""
    for taken in (consumer, producer):
        if not faults(producer, taken):
            value = data.draw(_values(producer))
            TypeAdapter(taken).validate_json(TypeAdapter(producer).dump_json(value), strict=True)


@settings(max_examples=100, deadline=None)
@given(hint=_TYPES)
def test_every_type_fits_itself(hint: Any) -> None:
    assert faults(hint, hint) == []


def _values(hint: Any) -> st.SearchStrategy[Any]:
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        fields = {name: _values(info.annotation) for name, info in hint.model_fields.items()}
        return st.builds(hint, **fields)
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is list:
        return st.lists(_values(arguments[0]), max_size=2)
    if typing.get_origin(hint) is dict:
        return st.dictionaries(st.text(max_size=2), _values(arguments[1]), max_size=2)
    if typing.get_origin(hint) is tuple:
        if arguments[-1:] == (...,):
            return st.lists(_values(arguments[0]), max_size=2).map(tuple)
        return st.tuples(*map(_values, arguments))
    if (
        type(hint).__name__ in ("UnionType", "_UnionGenericAlias")
        and typing.get_origin(hint) is not Literal
    ):
        return st.one_of(*map(_values, arguments))
    return st.floats(allow_nan=False, allow_infinity=False) if hint is float else st.from_type(hint)
