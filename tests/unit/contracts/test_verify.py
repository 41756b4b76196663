"""The verifier on Dagster definitions: every kind of edge, undefined assets, printed lines."""

import time
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import pytest
from pydantic import BaseModel

from geo_platform.contracts.dagster_graph import message_metadata
from geo_platform.contracts.fault import ContractError
from geo_platform.contracts.lock import write_lock
from geo_platform.contracts.message import Message
from geo_platform.contracts.verify import (
    contract_rows,
    definition_faults,
    render_contracts,
    verify_definitions,
)


class Measured(BaseModel):
    rows: int
    crs: str | None


class MeasuredSeen(BaseModel):
    rows: int
    crs: str


class Greeting(Message):
    text: str


class LongGreeting(Message):
    text: str
    schema_version: ClassVar[int] = 2


@dg.asset
def measured() -> Measured:
    return Measured(rows=1, crs=None)


def _lines(*assets: Any, checks: Any = (), jobs: Any = ()) -> list[str]:
    return [
        str(fault)
        for fault in definition_faults(
            dg.Definitions(assets=assets, asset_checks=checks, jobs=jobs)
        )
    ]


def test_valid_definitions_are_returned() -> None:
    @dg.asset
    def counted(measured: Measured) -> dg.MaterializeResult[int]:
        return dg.MaterializeResult(value=measured.rows)

    @dg.asset
    def doubled(counted: float) -> dg.Output[float]:
        return dg.Output(counted * 2)

    definitions = dg.Definitions(assets=[measured, counted, doubled])
    assert verify_definitions(definitions) is definitions


def test_every_fault_is_a_line_of_the_error() -> None:
    @dg.asset
    def counted(measured: MeasuredSeen) -> int:
        return measured.rows

    @dg.asset
    def named(counted: str, measured) -> None: ...  # type: ignore[no-untyped-def]

    with pytest.raises(ContractError) as raised:
        verify_definitions(dg.Definitions(assets=[measured, counted, named]))
    assert str(raised.value).splitlines() == [
        "3 contract faults:",
        "  measured -> counted: optional fed into required `crs`: producer gives str | "
        "None, consumer takes str",
        "  counted -> named: wrong type: producer gives int, consumer takes str",
        "  measured -> named: no annotation: producer gives Measured, consumer takes Any",
    ]


def test_an_asset_without_a_return_annotation_has_no_reader() -> None:
    @dg.asset
    def silent():  # type: ignore[no-untyped-def]
        return 1

    @dg.asset
    def reader(value: int) -> None: ...

    @dg.asset(ins={"renamed": dg.AssetIn("silent")})
    def other(renamed: int) -> None: ...

    assert _lines(silent, other) == [
        "silent -> other(renamed): no annotation: producer gives Any, consumer takes int"
    ]
    assert _lines(reader) == ["value -> reader: undefined asset: dependency `value` is not defined"]


def test_an_asset_without_a_value_cannot_be_read() -> None:
    @dg.asset
    def loaded() -> None: ...

    @dg.asset
    def reader(loaded: int) -> None: ...

    @dg.asset(deps=[loaded])
    def after() -> None: ...

    assert _lines(loaded, after) == []
    assert _lines(loaded, reader) == [
        "loaded -> reader: wrong type: producer gives None, consumer takes int"
    ]


def test_unknown_names_in_dependencies_and_checks_are_found_with_a_suggestion() -> None:
    @dg.asset(deps=["mesured"])
    def after() -> None: ...

    @dg.asset_check(asset="afterwards", additional_deps=["elsewhere"])
    def is_fine() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    @dg.multi_asset_check(specs=[dg.AssetCheckSpec("whole", asset="zzz")])
    def several() -> Any: ...

    assert _lines(measured, after, checks=[is_fine, several]) == [
        "mesured -> after: undefined asset: dependency `mesured` is not defined; did you "
        "mean `measured`?",
        "afterwards -> check is_fine: undefined asset: checked asset `afterwards` is not "
        "defined; did you mean `after`?",
        "elsewhere -> check is_fine: undefined asset: dependency `elsewhere` is not defined",
        "zzz -> check whole: undefined asset: checked asset `zzz` is not defined",
    ]


def test_an_external_asset_is_defined() -> None:
    @dg.asset(deps=["upload"])
    def after() -> None: ...

    @dg.asset_check(asset="upload")
    def has_arrived() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    assert _lines(dg.AssetSpec("upload"), after, checks=[has_arrived]) == []
    assert _lines(dg.AssetSpec("upload", deps=["phone"]), after) == [
        "phone -> upload: undefined asset: dependency `phone` is not defined"
    ]


def test_a_check_reads_its_asset_by_the_same_rules() -> None:
    @dg.asset_check(asset=measured)
    def has_rows(measured: MeasuredSeen) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=measured.rows > 0)

    assert _lines(measured, checks=[has_rows]) == [
        "measured -> check has_rows: optional fed into required `crs`: producer gives str "
        "| None, consumer takes str"
    ]


def test_an_external_asset_declares_its_type_in_its_metadata() -> None:
    @dg.asset
    def reader(upload: MeasuredSeen) -> None: ...

    silent, declared = (
        dg.AssetSpec("upload"),
        dg.AssetSpec("upload", metadata=message_metadata(Measured)),
    )
    assert _lines(silent, reader) == [
        "upload -> reader: no annotation: producer gives Any, consumer takes MeasuredSeen"
    ]
    assert [line.split(":")[1] for line in _lines(declared, reader)] == [
        " optional fed into required `crs`"
    ]
    assert _lines(dg.AssetSpec("upload", metadata=message_metadata(MeasuredSeen)), reader) == []


def test_a_dependency_without_a_value_is_compared_where_both_sides_declare_a_message() -> None:
    @dg.asset(deps=[dg.AssetDep("measured", metadata=message_metadata(MeasuredSeen))])
    def after() -> None: ...

    @dg.asset(deps=[dg.AssetDep("measured", metadata=message_metadata(Measured))])
    def fitting() -> None: ...

    @dg.multi_asset(
        specs=[dg.AssetSpec("loaded", metadata=message_metadata(Measured)), dg.AssetSpec("plain")]
    )
    def load(): ...  # type: ignore[no-untyped-def]

    @dg.asset(deps=[dg.AssetDep("loaded", metadata=message_metadata(MeasuredSeen))])
    def after_load() -> None: ...

    optional = "optional fed into required `crs`: producer gives str | None, consumer takes str"
    assert _lines(measured, after) == [f"measured -> after: {optional}"]
    assert _lines(measured, fitting) == []
    assert _lines(load, after_load) == [f"loaded -> after_load: {optional}"]


def test_an_asset_must_not_declare_one_type_and_return_another() -> None:
    @dg.asset(metadata=message_metadata(MeasuredSeen))
    def two_faced() -> Measured: ...

    assert [line.split(":")[0] for line in _lines(two_faced)] == [
        "two_faced -> two_faced(metadata)"
    ]


def test_multi_assets_are_read_output_by_output() -> None:
    @dg.multi_asset(outs={"one": dg.AssetOut(), "two": dg.AssetOut()})
    def both() -> tuple[int, str]:
        return 1, "a"

    @dg.asset
    def reader(one: int, two: int) -> None: ...

    assert _lines(both, reader) == [
        "two -> reader: wrong type: producer gives str, consumer takes int"
    ]


def test_graph_backed_assets_are_read_through_to_their_ops() -> None:
    @dg.op
    def count(value: Measured) -> int:
        return value.rows

    @dg.op
    def name(value: str) -> str:
        return value

    @dg.graph_asset
    def named(measured: Measured) -> str:
        return name(count(measured))

    @dg.asset
    def reader(named: int) -> None: ...

    assert _lines(measured, named, reader) == [
        "named.count -> named.name(value): wrong type: producer gives int, consumer takes str",
        "named -> reader: wrong type: producer gives str, consumer takes int",
    ]


def test_op_jobs_nested_graphs_fan_in_and_dynamic_outputs() -> None:
    @dg.op
    def one() -> int:
        return 1

    @dg.op
    def total(values: list[str]) -> str:
        return "".join(values)

    @dg.op(out=dg.DynamicOut(int))
    def several() -> Any:
        yield dg.DynamicOutput(1, "a")

    @dg.op
    def double(value: int) -> float:
        return 2.0 * value

    @dg.op(ins={"start": dg.In(dg.Nothing)})
    def last() -> None: ...

    @dg.graph
    def inner(value: int) -> str:
        last(start=double(value))
        return total([one.alias("a")(), one.alias("b")()])

    @dg.job
    def everything() -> None:
        total.alias("outer")(several().map(double).collect())
        double.alias("of_text")(inner(one()))

    element = "wrong type `[]`: producer gives int, consumer takes str"
    assert sorted(_lines(jobs=[everything])) == [
        "everything.double -> everything.outer(values): wrong type `[]`: producer gives "
        "float, consumer takes str",
        "everything.inner -> everything.of_text(value): wrong type: producer gives str, "
        "consumer takes int",
        f"everything.inner.a -> everything.inner.total(values): {element}",
        f"everything.inner.b -> everything.inner.total(values): {element}",
    ]


def test_a_custom_dagster_type_fits_only_itself() -> None:
    even = dg.DagsterType(name="Even", type_check_fn=lambda _, value: value % 2 == 0)

    @dg.asset(dagster_type=even)
    def number():  # type: ignore[no-untyped-def]
        return 2

    @dg.asset(ins={"number": dg.AssetIn(dagster_type=even)})
    def reader(number) -> None: ...  # type: ignore[no-untyped-def]

    @dg.asset
    def other(number: int) -> None: ...

    assert _lines(number, reader) == []
    assert [line.split(":")[1] for line in _lines(number, other)] == [" wrong type"]


def test_two_messages_must_also_agree_on_name_and_version() -> None:
    @dg.asset
    def greeted() -> Greeting: ...

    @dg.asset
    def reader(greeted: LongGreeting) -> None: ...

    assert _lines(greeted, reader) == [
        "greeted -> reader: another message: producer gives Greeting version 1, consumer "
        "takes LongGreeting version 2"
    ]


def test_the_messages_of_the_graph_are_compared_with_the_lock(tmp_path: Path) -> None:
    @dg.asset
    def greeted() -> Greeting: ...

    lock = tmp_path / "contracts.lock.json"
    definitions = dg.Definitions(assets=[greeted])
    assert [str(fault) for fault in definition_faults(definitions, lock_path=lock)] == [
        "contracts.lock.json -> Greeting: shape and schema_version disagree: "
        "Greeting is not in the lock; run `geo-platform contracts lock`"
    ]
    write_lock(lock, [Greeting])
    assert verify_definitions(definitions, lock_path=lock) is definitions


def test_the_contracts_are_shown_as_a_table() -> None:
    @dg.asset
    def greeted() -> Greeting: ...

    @dg.asset
    def reader(greeted: Greeting) -> None: ...

    @dg.asset_check(asset=greeted)
    def polite(greeted: Greeting) -> dg.AssetCheckResult: ...

    definitions = dg.Definitions(assets=[greeted, reader], asset_checks=[polite])
    assert [(row.stage, row.schema_version) for row in contract_rows(definitions)] == [
        ("greeted", 1),
        ("reader", None),
    ]
    assert render_contracts(definitions).splitlines() == [
        "stage    message   version  feeds",
        "greeted  Greeting  1        reader, check polite",
        "reader   None      -        -",
    ]


def test_verifying_a_hundred_assets_takes_well_under_a_second(record_property: Any) -> None:
    """A loose bound that only catches a disaster; benchmarks print the figure for the project."""

    def _asset(index: int) -> dg.AssetsDefinition:
        @dg.asset(
            name=f"stage_{index}", ins={"before": dg.AssetIn(f"stage_{index - 1}")} if index else {}
        )
        def stage(before: Measured | None = None) -> Measured: ...

        return stage

    definitions = dg.Definitions(
        assets=[_asset(index) for index in range(1, 100)] + [measured, dg.AssetSpec("stage_0")]
    )
    started = time.perf_counter()
    found = definition_faults(definitions)
    elapsed = time.perf_counter() - started
    record_property("verify_100_assets_seconds", elapsed)
    assert [str(fault) for fault in found] == [
        "stage_0 -> stage_1(before): no annotation: producer gives Any, consumer takes "
        "Measured | None"
    ]
    assert elapsed < 5
