"""Names of stages, jobs and partitions are written in `geo_platform/chains/` alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from geo_platform.chains.hello import HELLO_JOB, HELLO_STAGES
from geo_platform.chains.registry import CHAINS, SHARED_JOB

ROOT = Path(__file__).resolve().parents[2]
APPLICATION = ("geo_platform", "assets", "resources", "schedules")
CHAINS_FOLDER = ROOT / "geo_platform" / "chains"
NAMES = {
    *(stage.name for stage in (*HELLO_STAGES, *(stage for c in CHAINS for stage in c.stages))),
    *(chain.job for chain in CHAINS),
    *(chain.partitions_name for chain in CHAINS),
    HELLO_JOB,
    SHARED_JOB,
}
FILES = [
    path
    for folder in APPLICATION
    for path in sorted((ROOT / folder).rglob("*.py"))
    if CHAINS_FOLDER not in path.parents
]


def strings_of(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, string) of every string in the code except docstrings."""
    tree = ast.parse(text)
    docstrings = {
        id(statement.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in node.body[:1]
        if isinstance(statement, ast.Expr)
    }
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in docstrings:
            yield node.lineno, node.value


def names_in(text: str) -> list[tuple[int, str]]:
    return [(line, value) for line, value in strings_of(text) if value in NAMES]


def test_a_name_in_code_is_found() -> None:
    text = (
        '"""raster_cog"""\n\n\ndef raster_cog() -> str:\n'
        '    """raster_cog"""\n    return "raster_cog"\n'
    )
    assert names_in(text) == [(6, "raster_cog")]


def test_only_the_chains_contain_these_names() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): named
        for path in FILES
        if (named := names_in(path.read_text("utf-8")))
    }
    assert len(FILES) > 250
    assert found == {}


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain.name)
def test_each_stage_has_an_asset_function_of_its_name(chain: object) -> None:
    from assets.modules import ASSET_MODULES
    from geo_platform.chains.chain import Chain

    assert isinstance(chain, Chain)
    for stage in chain.stages:
        assert any(hasattr(module, stage.name) for module in ASSET_MODULES), stage.name
