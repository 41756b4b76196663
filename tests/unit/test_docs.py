"""Pages of the documentation agree with the code and their links are valid."""

import re
import tomllib
from pathlib import Path

import pytest

from geo_platform.chains.registry import CHAINS
from geo_platform.options import Options

ROOT = Path(__file__).resolve().parents[2]
STAGES = [(chain.job, stage.name, stage.options) for chain in CHAINS for stage in chain.stages]


@pytest.mark.parametrize(("job", "stage", "model"), STAGES, ids=[stage for _, stage, _ in STAGES])
def test_every_parameter_is_on_its_page_with_its_description(
    job: str, stage: str, model: type[Options]
) -> None:
    page = (ROOT / "docs" / "parameters.md").read_text("utf-8")
    section = page.split(f"## `{job}`")[1].split(f"### `{stage}`")[1].split("\n#")[0]
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", section, flags=re.MULTILINE)
    assert rows == [(name, field.description) for name, field in model.model_fields.items()]


def test_links_between_pages_are_valid() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_diagram_of_layers_agrees_with_import_linter() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    shown = re.search(r"^<!-- layers: .*-->\n```\n(.*?)```$", page, re.DOTALL | re.MULTILINE)
    assert shown is not None
    diagram = "\n".join(_layers())
    assert shown[1].rstrip("\n") == diagram, f"docs/architecture.md needs:\n{diagram}"


def _layers() -> list[str]:
    """Return the layers of the library and, below the layer they follow, of the application."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    library, application = (each["layers"] for each in contracts if each["type"] == "layers")
    merged = list(library)
    below = 0
    for layer in application:
        name = layer.replace("geo_platform.", "")
        if layer != name:
            below = merged.index(name) + 1
        else:
            merged.insert(below, name)
            below += 1
    return merged


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= set(re.findall(r"\]\(([^)#/]+\.md)\)", index))
