"""Class names of the application are unique."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
APPLICATION = ("geo_platform", "assets", "resources", "schedules")


def test_no_two_public_classes_have_the_same_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for folder in APPLICATION:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for statement in ast.parse(path.read_text("utf-8")).body:
                if isinstance(statement, ast.ClassDef) and not statement.name.startswith("_"):
                    places[statement.name].append(path.relative_to(ROOT).as_posix())
    assert len(places) > 100
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
