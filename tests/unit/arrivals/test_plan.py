"""Plan which runs take which arrivals: each once, the oldest first, within every limit."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from geo_platform.arrivals.arrival import Arrival, arrival_key
from geo_platform.arrivals.plan import MemoryClass, memory_class, plan_runs
from geo_platform.arrivals.watch import MIB, Watch

START = datetime(2026, 6, 1, tzinfo=UTC)


def arrival(number: int, size_bytes: int = 1000, age_s: int = 0) -> Arrival:
    key = f"{number}.tif"
    return Arrival(
        "bronze",
        key,
        f"memory:///bronze/{key}",
        f"e{number}",
        size_bytes,
        START - timedelta(seconds=age_s),
    )


ARRIVALS = st.lists(st.tuples(st.integers(0, 20 * MIB), st.integers(0, 5)), max_size=40).map(
    lambda drawn: [arrival(number, size, age) for number, (size, age) in enumerate(drawn)]
)


@given(ARRIVALS, st.integers(0, 10), st.integers(1, 7))
def test_every_arrival_is_requested_once_or_waits(
    arrivals: list[Arrival], room: int, files_per_run: int
) -> None:
    watch = Watch(name="a", files_per_run=files_per_run, bytes_per_run=16 * MIB)
    planned, waiting = plan_runs(arrivals, watch, room=room)
    assert len(planned) <= room
    taken = [one for run in planned for one in run.arrivals]
    assert sorted(one.key for one in (*taken, *waiting)) == sorted(one.key for one in arrivals)
    for run in planned:
        assert len(run.arrivals) <= files_per_run
        if run.is_shared:
            assert all(one.size_bytes <= watch.small_bytes for one in run.arrivals)
            assert sum(one.size_bytes for one in run.arrivals) <= watch.bytes_per_run
    assert len({run.run_key for run in planned}) == len(planned)
    firsts = [(run.arrivals[0].last_modified_utc, run.arrivals[0].key) for run in planned]
    assert firsts == sorted(firsts)


def test_the_oldest_is_not_starved() -> None:
    arrivals = [arrival(number, 9 * MIB, age_s=number) for number in range(5)]
    planned, waiting = plan_runs(arrivals, Watch(name="a"), room=2)
    assert [run.arrivals[0].key for run in planned] == ["4.tif", "3.tif"]
    assert [one.key for one in waiting] == ["2.tif", "1.tif", "0.tif"]


def test_one_small_object_gets_a_run_of_its_own_and_two_share_one() -> None:
    (alone,), _ = plan_runs([arrival(1)], Watch(name="a"), room=5)
    assert not alone.is_shared
    assert alone.run_key == arrival_key(arrival(1), {})
    (shared,), _ = plan_runs([arrival(1), arrival(2)], Watch(name="a"), room=5)
    (again,), _ = plan_runs([arrival(2), arrival(1)], Watch(name="a"), room=5)
    assert shared.is_shared
    assert shared.run_key == again.run_key


def test_the_key_of_an_arrival_is_its_object_key_etag_and_recipe() -> None:
    one = arrival(1)
    assert arrival_key(one, {"a": 1, "b": 2}) == arrival_key(arrival(1, age_s=9), {"b": 2, "a": 1})
    assert len({arrival_key(one, {}), arrival_key(one, {"a": 1}), arrival_key(arrival(2), {})}) == 3


def test_memory_depends_on_size() -> None:
    assert [memory_class(size) for size in (0, 64 * MIB - 1, 64 * MIB, 1024 * MIB)] == [
        MemoryClass.small,
        MemoryClass.small,
        MemoryClass.medium,
        MemoryClass.large,
    ]
