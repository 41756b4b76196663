"""The application keeps small folders, few files, and headers that name the true callers."""

from collections import Counter

import pytest

from tests.support.structure import (
    Module,
    application_modules,
    expected_callers,
    importers,
)

MOST_FILES = 400
MOST_MODULES_OF_A_FOLDER = 20
SMALL_LINES = 60

MODULES = application_modules()
CALLERS = expected_callers()


def test_application_has_few_files() -> None:
    assert len(MODULES) <= MOST_FILES


def test_no_folder_has_too_many_modules() -> None:
    counts = Counter(module.path.parent for module in MODULES.values() if not module.is_package)
    crowded = {str(folder): n for folder, n in counts.items() if n > MOST_MODULES_OF_A_FOLDER}
    assert crowded == {}


def _is_splinter(module: Module, callers: set[str]) -> bool:
    return (
        not module.is_package
        and len(callers) == 1
        and module.lines < SMALL_LINES
        and "module of its own" not in module.header
    )


def test_small_module_with_one_importer_says_why_it_stands_alone() -> None:
    who = importers(MODULES)
    splinters = [name for name, module in MODULES.items() if _is_splinter(module, who[name])]
    assert splinters == [], "join them to their importer, or say why each is a module of its own"


@pytest.mark.parametrize("name", sorted(CALLERS))
def test_header_names_the_callers(name: str) -> None:
    header = " ".join(MODULES[name].header.split())
    assert header.endswith(CALLERS[name]), (
        "the callers have changed: run `python -m tests.support.structure`"
    )
