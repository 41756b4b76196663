"""Pages that repeat what the code says are held to it."""

import re
from pathlib import Path

import pytest

from geo_platform.chains import CHAINS
from geo_platform.options import Options

ROOT = Path(__file__).resolve().parents[2]
STAGES = [
    (chain.job, stage, model) for chain in CHAINS.values() for stage, model in chain.stages.items()
]


@pytest.mark.parametrize(("job", "stage", "model"), STAGES, ids=[stage for _, stage, _ in STAGES])
def test_every_parameter_is_on_its_page_with_its_description(
    job: str, stage: str, model: type[Options]
) -> None:
    page = (ROOT / "docs" / "parameters.md").read_text("utf-8")
    section = page.split(f"## `{job}`")[1].split(f"### `{stage}`")[1].split("\n#")[0]
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", section, flags=re.MULTILINE)
    assert rows == [(name, field.description) for name, field in model.model_fields.items()]


def test_links_between_pages_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
