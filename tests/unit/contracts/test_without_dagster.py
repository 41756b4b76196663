"""The contracts work without Dagster, except for the modules that read its definitions."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROGRAM = """
import importlib, pkgutil, sys
sys.modules["dagster"] = None
import geo_platform.contracts
modules = pkgutil.iter_modules(geo_platform.contracts.__path__)
names = [module.name for module in modules if not module.name.startswith("dagster_")]
for name in names:
    importlib.import_module(f"geo_platform.contracts.{name}")
assert geo_platform.contracts.verify_definitions and geo_platform.contracts.ContractError
assert not hasattr(geo_platform.contracts, "nothing_of_the_kind")
sys.stdout.write(" ".join(sorted(names)))
"""


def test_only_the_modules_for_dagster_need_it_to_be_imported() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert {"compatibility", "stored", "lock", "verify", "raster"} <= set(run.stdout.split())


def test_only_the_modules_for_dagster_import_it_and_nothing_private() -> None:
    for path in (ROOT / "geo_platform" / "contracts").glob("*.py"):
        source = path.read_text()
        assert "dagster._" not in source, path.name
        if not path.name.startswith("dagster_"):
            assert "\nfrom dagster" not in source, path.name
            assert "\nimport dagster" not in source, path.name
