"""After SIGKILL at any point no half-written object is listed, and the work can be repeated."""

import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from geo_platform.storage.local.folder import FolderStore
from geo_platform.storage.local.stac_files import StacFiles

HERE = Path(__file__).parent
PROJECT = HERE.parents[3]
WITH_PROJECT = os.environ | {"PYTHONPATH": str(PROJECT)}


@pytest.mark.parametrize(
    "work",
    [
        "put by copy",
        "put by move",
        "move to another container",
        "first publish",
        "publish again",
        "unpublish",
        "restore",
        "restore an unpublished item",
        "forget",
    ],
)
def test_a_kill_before_any_file_operation_leaves_the_old_or_the_new(
    work: str, tmp_path: Path
) -> None:
    program = [sys.executable, str(HERE / "dying_writer.py"), work, str(tmp_path)]
    ran = subprocess.run(
        program, env=WITH_PROJECT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) >= 15


def test_writers_killed_at_random_moments_leave_complete_objects_and_items(tmp_path: Path) -> None:
    root, scratch = tmp_path / "root", tmp_path / "scratch"
    scratch.mkdir()
    moments = random.Random(20)  # noqa: S311 - moments, not secrets
    for _ in range(3):
        program = [sys.executable, str(HERE / "restless_writer.py"), str(root), str(scratch)]
        writers = [
            subprocess.Popen(
                program, env=WITH_PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            for _ in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"writing\n"
        time.sleep(moments.uniform(0.02, 0.25))
        for writer in writers:
            writer.kill()
            _, complaint = writer.communicate()
            assert complaint == b""
        _check_objects(FolderStore(root))
        _check_items(StacFiles(root))


def _check_objects(store: FolderStore) -> None:
    listed = list(store.list("silver"))
    assert [stored.reference.key for stored in listed][:1] == ["folder/0.bin"]
    for stored in listed:
        content = store.read_bytes("silver", stored.reference.key)
        digest = hashlib.sha256(content[64:]).hexdigest()
        assert content[:64].decode() == digest == stored.metadata["sha256"]


def _check_items(catalog: StacFiles) -> None:
    entries = list(catalog.entries())
    assert entries
    for entry in entries:
        found = catalog.item(entry.collection, entry.item_id)
        assert found is not None
        assert len(found["properties"]["list"]) == found["properties"]["length"]
