"""The graph of assets, checks and jobs equals the snapshot, so that a review sees each change.

After an intended change, run `.venv/bin/python -m tests.assets.test_definitions_snapshot` and
commit the file.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from geo_platform.definitions import defs

SNAPSHOT = Path(__file__).with_name("definitions_snapshot.json")


def _described() -> dict[str, Any]:
    checks = [spec for checked in defs.asset_checks or () for spec in checked.check_specs]
    return {
        "assets": {
            spec.key.to_user_string(): _asset(spec) for spec in defs.resolve_all_asset_specs()
        },
        "checks": {spec.name: _check(spec) for spec in checks},
        "jobs": {job.name: _job(defs.resolve_job_def(job.name)) for job in defs.jobs or ()},
        "resources": {
            name: type(resource).__name__ for name, resource in (defs.resources or {}).items()
        },
        "schedules": _names(defs.schedules),
        "sensors": _names(defs.sensors),
    }


def _asset(spec: dg.AssetSpec) -> dict[str, Any]:
    return {
        "description": spec.description,
        "group": spec.group_name,
        "kinds": sorted(spec.kinds),
        "owners": list(spec.owners),
        "tags": {
            key: value for key, value in spec.tags.items() if not key.startswith("dagster/kind/")
        },
        "deps": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
        "partitions": _partitions(spec.partitions_def),
    }


def _check(spec: dg.AssetCheckSpec) -> dict[str, Any]:
    return {
        "description": spec.description,
        "asset": spec.asset_key.to_user_string(),
        "deps": sorted(dep.asset_key.to_user_string() for dep in spec.additional_deps),
        "blocking": spec.blocking,
        "partitions": _partitions(spec.partitions_def),
    }


def _job(job: dg.JobDefinition) -> dict[str, Any]:
    return {
        "description": job.description,
        "executor": job.executor_def.name,
        "tags": dict(job.tags),
        "ops": sorted(node.name for node in job.nodes),
        "partitions": _partitions(job.partitions_def),
    }


def _partitions(partitions: dg.PartitionsDefinition | None) -> str | None:
    return (
        partitions.name
        if isinstance(partitions, dg.DynamicPartitionsDefinition)
        else partitions and str(partitions)
    )


def _names(launchers: Sequence[Any] | None) -> list[str]:
    return [launcher.name for launcher in launchers or ()]


def _text() -> str:
    return json.dumps(_described(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def test_the_graph_equals_the_snapshot() -> None:
    assert json.loads(_text()) == json.loads(SNAPSHOT.read_text("utf-8"))


def test_every_asset_check_and_job_has_a_description() -> None:
    described = _described()
    named = [
        (name, entry["description"])
        for part in ("assets", "checks", "jobs")
        for name, entry in described[part].items()
    ]
    assert [name for name, description in named if not description] == []


_LIBRARIES = {"pandas", "geopandas", "pyogrio", "rasterio"}


def _loaded_by(module: str) -> set[str]:
    program = f"import {module}, sys; print(*{_LIBRARIES} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_definitions_load_no_vector_library() -> None:
    """Every process of a run loads the definitions; pandas alone would take 0.25 seconds."""
    assert _loaded_by("geo_platform.definitions") & {"pandas", "geopandas", "pyogrio"} == set()


def test_the_code_server_loads_the_raster_library() -> None:
    """Runs are forked from a process with this module loaded, so they need not import it again."""
    assert _loaded_by("geo_platform.code_location") == {"rasterio"}


if __name__ == "__main__":
    SNAPSHOT.write_text(_text(), "utf-8")
