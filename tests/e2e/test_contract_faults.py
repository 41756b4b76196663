"""Stages that do not fit each other fail when they are loaded.

Each case edits a copy of the project in one place and runs `dagster definitions validate` and `dg
check defs`. Both must exit with an error and print the fault's own line.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
COMMANDS = {
    "dagster definitions validate": [BIN / "dagster", "definitions", "validate"],
    "dg check defs": [BIN / "dg", "check", "defs"],
}
PARTS = (
    "geo_platform",
    "assets",
    "resources",
    "schedules",
    "pyproject.toml",
    "workspace.yaml",
    "contracts.lock.json",
)


@dataclass(frozen=True)
class Edit:
    """Replace one passage in a file. With `into`, write the result to another file."""

    path: str
    old: str
    new: str
    into: str = ""


CHAIN = "assets/raster.py"
READ = "geo_platform/contracts/raster_as_read.py"
IMPORT = (
    "from geo_platform.contracts.raster_as_read import RasterProfiled as RasterProfiledAsRead\n"
)
LOADS = "    config: RasterCogConfig,\n    raster_profile: RasterProfiled,\n"
# raster_cog reads raster_profile's message with a copy of its class, so that one side can change
# alone.
READS_ITS_OWN = (
    Edit(CHAIN, LOADS, LOADS.replace("RasterProfiled", "RasterProfiledAsRead")),
    Edit(CHAIN, "from geo_platform.options", f"{IMPORT}from geo_platform.options"),
)


def consumer_edits(old: str, new: str) -> tuple[Edit, ...]:
    return (*READS_ITS_OWN, Edit("geo_platform/contracts/raster.py", old, new, into=READ))


CASES = {
    "a field renamed on one side": (
        consumer_edits("    driver: str\n    shape", "    driver_name: str\n    shape"),
        "raster_profile -> raster_cog: missing field `driver_name`: producer gives nothing, "
        "consumer takes str (renamed from `driver`?)",
    ),
    "a field's type changed": (
        consumer_edits(
            "    uncompressed_bytes: int\n    memory", "    uncompressed_bytes: str\n    memory"
        ),
        "raster_profile -> raster_cog: wrong type `uncompressed_bytes`: producer gives int, "
        "consumer takes str",
    ),
    "an optional fed into a required, in a nested part": (
        consumer_edits("    unit: str | None\n", "    unit: str\n"),
        "raster_profile -> raster_cog: optional fed into required `bands[].unit`: "
        "producer gives str | None, consumer takes str",
    ),
    "an enum narrowed": (
        consumer_edits('    nir = "nir"\n', ""),
        "raster_profile -> raster_cog: narrowed values `raster_type`: "
        "producer gives geo_platform.contracts.raster.RasterType, "
        "consumer takes geo_platform.contracts.raster_as_read.RasterType "
        "(the consumer does not know nir)",
    ),
    "the consumer's annotation removed": (
        (Edit(CHAIN, LOADS, LOADS.replace(": RasterProfiled,", ",")),),
        "raster_profile -> raster_cog: no annotation: producer gives RasterProfiled, "
        "consumer takes Any",
    ),
    "the producer's annotation removed": (
        (Edit(CHAIN, "-> dg.MaterializeResult[RasterProfiled]:", "-> dg.MaterializeResult:"),),
        "raster_profile -> raster_cog: no annotation: producer gives Any, "
        "consumer takes RasterProfiled",
    ),
    "a deps= that names nothing": (
        (
            Edit(
                "assets/hello.py",
                'kinds={"python"})\ndef spoken',
                'kinds={"python"}, deps=["prepared_greting"])\ndef spoken',
            ),
        ),
        "prepared_greting -> spoken_greeting: undefined asset: dependency `prepared_greting` "
        "is not defined; did you mean `prepared_greeting`?",
    ),
    "an asset check that names nothing": (
        (
            Edit(
                "assets/checks.py",
                "ASSET_CHECKS = [\n",
                '@dg.asset_check(asset="raster_itme")\n'
                "def misplaced() -> dg.AssetCheckResult: ...\n\n\n"
                "ASSET_CHECKS = [misplaced] + [\n",
            ),
        ),
        "raster_itme -> check misplaced: undefined asset: checked asset `raster_itme` "
        "is not defined; did you mean `raster_item`?",
    ),
    "a job's run config that does not fit": (
        (
            Edit(
                "schedules/jobs.py",
                "    HELLO_JOB,\n    selection",
                "    HELLO_JOB,\n"
                '    config={"ops": {"prepared_greeting": {"config": {"name": 5}}}},\n'
                "    selection",
            ),
        ),
        "its run config -> job hello_world: run config does not fit "
        "`ops.prepared_greeting.config.name`: ",
    ),
    "a message changed without its schema_version": (
        (
            Edit(
                "geo_platform/contracts/publication.py",
                "    text: str\n",
                '    text: str\n    language: str = "en"\n',
            ),
        ),
        "contracts.lock.json -> GreetingSpoken: shape and schema_version disagree `language`: "
        "producer gives nothing, consumer takes str; may be left out "
        "(shape changed, schema_version is still 1; raise it and register an upgrade)",
    ),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a deployment has of the project."""
    copy = tmp_path_factory.mktemp("project")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / part, copy / part)
    return copy


@pytest.fixture
def edited(project: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The copy with the case's edits, which are undone afterwards."""
    edits: tuple[Edit, ...] = request.param
    written = {project / (edit.into or edit.path) for edit in edits}
    before = {path: path.read_text() for path in written if path.exists()}
    for edit in edits:
        source = (project / edit.path).read_text()
        assert source.count(edit.old) == 1, (
            f"{edit.path} holds this passage {source.count(edit.old)} times:\n{edit.old}"
        )
        text = source.replace(edit.old, edit.new)
        if edit.into:
            # A copied message has the upgrades of the first one already.
            text = re.sub(r"^@upgrades\(.*\n", "", text, flags=re.MULTILINE)
        (project / (edit.into or edit.path)).write_text(text)
    yield project
    for path in written:
        path.write_text(before[path]) if path in before else path.unlink()


def _run_both(project: Path) -> dict[str, tuple[int, str]]:
    """Run both commands in parallel, each with its own environment; return exit code and output."""
    environment = {
        "PATH": os.defpath,
        "HOME": str(project),
        "DAGSTER_DISABLE_TELEMETRY": "yes",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    running = {
        name: subprocess.Popen(
            command,
            cwd=project,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, command in COMMANDS.items()
    }
    printed = {name: process.communicate(timeout=120)[0] for name, process in running.items()}
    return {name: (process.returncode, printed[name]) for name, process in running.items()}


def test_the_unchanged_project_passes_both_commands(project: Path) -> None:
    for name, (exit_code, printed) in _run_both(project).items():
        assert exit_code == 0, f"{name}\n{printed}"


TIMED = """
import sys, time
import assets.checks, resources.io_manager, resources.stores, resources.stores, schedules.jobs
import geo_platform.contracts.dagster_config, geo_platform.contracts.dagster_graph
import geo_platform.contracts.verify as verify
def timed(*arguments, _faults=verify.definition_faults, **named):
    started = time.process_time()
    found = _faults(*arguments, **named)
    sys.stdout.write(f"{time.process_time() - started:.4f}")
    return found
verify.definition_faults = timed
import geo_platform.definitions
"""


def test_verifying_costs_milliseconds(
    project: Path, record_property: Callable[[str, object], None]
) -> None:
    """Verification uses well under 0.2 s of CPU for the whole project, in a fresh process."""
    run = subprocess.run(
        [sys.executable, "-c", TIMED],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    record_property("verify_definitions_seconds", run.stdout)
    sys.stdout.write(f"verify_definitions on the real project: {run.stdout} s\n")
    assert 0 < float(run.stdout) < 1


# Types, names, config. The verifier's own tests cover all faults; these test the two commands.
_OF_EACH_KIND = (
    "a field renamed on one side",
    "a deps= that names nothing",
    "a job's run config that does not fit",
)


@pytest.mark.parametrize(
    "edited",
    [tuple(edit for name in _OF_EACH_KIND for edit in CASES[name][0])],
    ids=["at once"],
    indirect=True,
)
def test_a_fault_of_each_kind_is_named_by_both_commands(edited: Path) -> None:
    for name, (exit_code, printed) in _run_both(edited).items():
        assert exit_code == 1, f"{name} exits {exit_code}\n{printed}"
        assert "ContractError" in printed, f"{name}\n{printed}"
        assert [kind for kind in _OF_EACH_KIND if CASES[kind][1] not in printed] == [], (
            f"{name}\n{printed}"
        )


@pytest.mark.slow
@pytest.mark.parametrize(("edited", "line"), CASES.values(), ids=CASES, indirect=["edited"])
def test_each_fault_is_named_by_both_commands(edited: Path, line: str) -> None:
    for name, (exit_code, printed) in _run_both(edited).items():
        assert exit_code == 1, f"{name} exits {exit_code}\n{printed}"
        assert "ContractError" in printed, f"{name}\n{printed}"
        assert line in printed, f"{name}\n{printed}"
