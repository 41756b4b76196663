"""Loading for good: the collector rests meanwhile and looks at none of it later; afterwards it is as it was."""

import gc
import subprocess
import sys

import pytest

from geo_platform.loading import loaded_for_good


def test_the_collector_rests_meanwhile_and_goes_on_afterwards() -> None:
    before = gc.get_freeze_count()
    try:
        with loaded_for_good():
            assert not gc.isenabled()
            kept = [[] for _ in range(1000)]
        assert gc.isenabled()
        assert gc.get_freeze_count() >= before + len(kept)
    finally:
        gc.unfreeze()


def test_loading_that_fails_leaves_the_collector_on() -> None:
    with pytest.raises(ModuleNotFoundError), loaded_for_good():
        raise ModuleNotFoundError("absent")
    assert gc.isenabled()
    gc.unfreeze()


def test_who_has_turned_it_off_keeps_it_off() -> None:
    gc.disable()
    try:
        with loaded_for_good():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


def test_the_definitions_are_loaded_for_good() -> None:
    program = "import gc, geo_platform.definitions; assert gc.isenabled(); print(gc.get_freeze_count())"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert int(ended.stdout) > 100_000
