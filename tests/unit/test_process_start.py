"""Loading for good: the collector rests meanwhile and looks at none of it later; afterwards it is as it was."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from geo_platform.process_start import frozen_imports


def test_the_collector_rests_meanwhile_and_goes_on_afterwards() -> None:
    before = gc.get_freeze_count()
    try:
        with frozen_imports():
            assert not gc.isenabled()
            kept = [[] for _ in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(kept)
    finally:
        gc.unfreeze()


def test_loading_that_fails_leaves_the_collector_on() -> None:
    with pytest.raises(ModuleNotFoundError), frozen_imports():
        raise ModuleNotFoundError("absent")
    assert gc.isenabled()
    gc.unfreeze()


def test_who_has_turned_it_off_keeps_it_off() -> None:
    gc.disable()
    try:
        with frozen_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


def test_the_definitions_are_loaded_for_good() -> None:
    program = (
        "import gc, geo_platform.code_location; assert gc.isenabled(); print(gc.get_freeze_count())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(ended.stdout) > 100_000


@pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="threads are counted as Linux lists them"
)
def test_no_thread_waits_for_linear_algebra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(
        "OPENBLAS_NUM_THREADS", raising=False
    )  # loading the definitions in this process has set it
    program = (
        "import os, geo_platform.code_location, numpy; print(len(os.listdir('/proc/self/task')))"
    )

    def threads(said: dict[str, str]) -> int:
        others = {
            name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"
        }
        ended = subprocess.run(
            [sys.executable, "-c", program],
            env={**others, **said},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return int(ended.stdout)

    assert threads({}) == threads({"OPENBLAS_NUM_THREADS": "1"})
    if (os.cpu_count() or 1) > 1:
        assert threads({"OPENBLAS_NUM_THREADS": "2"}) == threads({}) + 1


SET_ASIDE = """
import gc
from geo_platform.process_start import frozen_imports, frozen_objects
if {is_loaded}:
    with frozen_imports():
        kept = [[] for _ in range(1000)]
before = gc.get_freeze_count()
with frozen_objects():
    within = gc.get_freeze_count()
print(before, within, gc.get_freeze_count())
"""


def test_what_is_loaded_for_good_stays_set_aside_when_a_load_has_ended() -> None:
    """The end of the process would look through all of it, which takes longer than a small load."""
    before, within, after = _set_aside(is_loaded=True)
    assert before >= 1000
    assert within >= before - 10
    assert after >= before - 10


def test_a_program_that_loads_nothing_for_good_gets_back_what_was_set_aside() -> None:
    before, within, after = _set_aside(is_loaded=False)
    assert within > before == after == 0


def _set_aside(*, is_loaded: bool) -> tuple[int, int, int]:
    program = SET_ASIDE.format(is_loaded=is_loaded)
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    before, within, after = map(int, ended.stdout.split())
    return before, within, after


@pytest.mark.parametrize(
    ("setting", "process"), [("true", "ForkServerProcess"), ("false", "SpawnProcess")]
)
@pytest.mark.skipif(sys.platform != "linux", reason="forked on Linux alone")
def test_a_setting_leaves_spawn_alone(setting: str, process: str) -> None:
    program = "import multiprocessing, geo_platform.code_location; print(multiprocessing.get_context('spawn').Process.__name__)"
    environment = {**os.environ, "GEO_PLATFORM_FORK_RUNS": setting}
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ended.stdout.strip() == process


FORKED = """
import multiprocessing, os, sys, time
sys.path.insert(0, sys.argv[1])
from geo_platform.process_start import fork_spawned_processes

def told(queue):
    import loaded_once
    queue.put((loaded_once.BY, os.getpid(), os.getppid()))

if __name__ == "__main__":
    if sys.argv[2] == "fork":
        fork_spawned_processes(["loaded_once"])
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    for _ in range(2):
        process = context.Process(target=told, args=(queue,))
        process.start()
        by, pid, parent = queue.get(timeout=60)
        process.join(60)
        print(by, pid, parent, process.exitcode, os.getpid())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forked on Linux alone")
@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_what_is_spawned_comes_from_a_process_that_has_loaded(how: str, tmp_path: Path) -> None:
    """Each is told by which process the module was loaded that it finds, and whose child it is."""
    (tmp_path / "loaded_once.py").write_text("import os\nBY = os.getpid()\n")
    program = tmp_path / "program.py"
    program.write_text(FORKED)
    root = str(Path(__file__).parents[2])
    ended = subprocess.run(
        [sys.executable, str(program), root, how],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    first, second = (list(map(int, line.split())) for line in ended.stdout.splitlines())
    for loaded_by, pid, parent, exit_code, starter in (first, second):
        assert exit_code == 0
        assert (loaded_by, parent == starter) == ((parent, False) if how == "fork" else (pid, True))
    assert first[1] != second[1]
