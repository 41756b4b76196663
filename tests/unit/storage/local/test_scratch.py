"""A scratch folder is removed when its stage ends, that of a killed process by the next start."""

import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from geo_platform.storage.local.process import is_alive, this_process
from geo_platform.storage.local.scratch import ScratchRoot


def test_a_folder_is_removed_when_its_stage_ends_or_fails(tmp_path: Path) -> None:
    scratch = ScratchRoot(tmp_path)

    def failing_stage() -> None:
        with scratch.of_run("run") as folder:
            (folder / "part.tif").write_bytes(b"x")
            raise ValueError("stage")

    with pytest.raises(ValueError, match="stage"):
        failing_stage()
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_removes_only_folders_of_killed_processes(tmp_path: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from geo_platform.storage.local.scratch import ScratchRoot
with ScratchRoot(Path({str(tmp_path)!r})).of_run("killed") as folder:
    (folder / "half.tif").write_bytes(b"x")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run(
        [sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[4]
    )
    assert killed.returncode == -9
    (tmp_path / "not-ours").mkdir()
    scratch = ScratchRoot(tmp_path)
    with scratch.of_run("living") as living:
        assert len(scratch.sweep()) == 1
        assert living.is_dir()
        assert (tmp_path / "not-ours").is_dir()
        assert sorted(folder.name for folder in tmp_path.iterdir()) == sorted(
            ["not-ours", living.name]
        )


def test_folders_of_another_machine_are_removed_by_age_only(tmp_path: Path) -> None:
    """In a shared folder a process with the same number may run in another container."""
    with ScratchRoot(tmp_path).of_run("run") as here:
        process, _, rest = here.name.partition("@")
        elsewhere = tmp_path / f"0{process}@{'0' * 8}{rest[8:]}"
        elsewhere.mkdir()
        assert ScratchRoot(tmp_path).abandoned() == []
        with patch("geo_platform.storage.local.scratch.ABANDONED_AFTER_S", -1):
            assert ScratchRoot(tmp_path).abandoned() == [elsewhere]
        elsewhere.rename(tmp_path / "4194304.1--earlier")
        assert ScratchRoot(tmp_path).sweep() == ("4194304.1--earlier",)


def test_this_process_is_alive_and_one_that_ended_is_not() -> None:
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            "from geo_platform.storage.local.process import this_process; print(this_process())",
        ],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[4],
    ).stdout.strip()
    assert is_alive(this_process())
    assert not is_alive(ended)


def test_a_reused_process_id_is_not_the_process_that_wrote() -> None:
    pid, _, start = this_process().partition(".")
    assert not is_alive(f"{pid}.{int(start) + 1}")


@pytest.mark.parametrize("name", ["", "backup", "12", "12.x"])
def test_a_folder_without_a_process_identity_is_not_judged(name: str) -> None:
    assert is_alive(name)
