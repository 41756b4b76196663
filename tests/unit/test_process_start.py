"""Imports pause garbage collection and exempt their objects from it, and runs are forked."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from geo_platform.process_start import frozen_imports


def test_the_collector_is_off_during_imports_and_on_afterwards() -> None:
    before = gc.get_freeze_count()
    try:
        with frozen_imports():
            assert not gc.isenabled()
            kept = [[] for _ in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(kept)
    finally:
        gc.unfreeze()


def test_a_failed_import_leaves_the_collector_on() -> None:
    with pytest.raises(ModuleNotFoundError), frozen_imports():
        raise ModuleNotFoundError("absent")
    assert gc.isenabled()
    gc.unfreeze()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with frozen_imports():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


def test_the_objects_of_the_definitions_are_frozen() -> None:
    program = (
        "import gc, geo_platform.code_location; assert gc.isenabled(); print(gc.get_freeze_count())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(ended.stdout) > 100_000


@pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="/proc lists threads on Linux only"
)
def test_openblas_starts_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    # Loading the definitions in this process has set it.
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    program = (
        "import os, geo_platform.code_location, numpy; print(len(os.listdir('/proc/self/task')))"
    )

    def threads(settings: dict[str, str]) -> int:
        others = {
            name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"
        }
        ended = subprocess.run(
            [sys.executable, "-c", program],
            env={**others, **settings},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return int(ended.stdout)

    assert threads({}) == threads({"OPENBLAS_NUM_THREADS": "1"})
    if (os.cpu_count() or 1) > 1:
        assert threads({"OPENBLAS_NUM_THREADS": "2"}) == threads({}) + 1


FREEZE_COUNTS = """
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


def test_frozen_imports_stay_frozen_after_a_load() -> None:
    """Otherwise the end of the process would traverse them all, longer than a small load takes."""
    before, within, after = freeze_counts(is_loaded=True)
    assert before >= 1000
    assert within >= before - 10
    assert after >= before - 10


def test_a_program_without_frozen_imports_has_nothing_frozen_after_a_load() -> None:
    before, within, after = freeze_counts(is_loaded=False)
    assert within > before == after == 0


def freeze_counts(*, is_loaded: bool) -> tuple[int, int, int]:
    program = FREEZE_COUNTS.format(is_loaded=is_loaded)
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    before, within, after = map(int, ended.stdout.split())
    return before, within, after


@pytest.mark.parametrize(
    ("setting", "process"), [("true", "ForkServerProcess"), ("false", "SpawnProcess")]
)
@pytest.mark.skipif(sys.platform != "linux", reason="runs are forked on Linux only")
def test_a_setting_turns_forking_off(setting: str, process: str) -> None:
    program = (
        "import multiprocessing, geo_platform.code_location; "
        "print(multiprocessing.get_context('spawn').Process.__name__)"
    )
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

def report(queue):
    import loaded_once
    queue.put((loaded_once.BY, os.getpid(), os.getppid()))

if __name__ == "__main__":
    if sys.argv[2] == "fork":
        fork_spawned_processes(["loaded_once"])
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    for _ in range(2):
        process = context.Process(target=report, args=(queue,))
        process.start()
        by, pid, parent = queue.get(timeout=60)
        process.join(60)
        print(by, pid, parent, process.exitcode, os.getpid())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="runs are forked on Linux only")
@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_a_spawned_process_is_forked_from_one_with_the_modules_loaded(
    how: str, tmp_path: Path
) -> None:
    """Each process reports which process had loaded the module and which is its parent."""
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
