"""Read the structure of the application: its modules, who imports whom, and each header's callers.

`python -m tests.support.structure` rewrites the sentence in each module's header that names its
callers; tests/unit/test_structure.py fails where one is not true any more.
"""

import ast
import textwrap
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("geo_platform", "assets", "resources", "schedules")
WIDTH = 100

# A header lists up to so many callers by module, and then so many by package.
NAMED_MODULES, NAMED_PACKAGES = 3, 4


@dataclass(frozen=True)
class Module:
    """A module of the application. `path` is relative to the root; `lines` are all of its lines."""

    name: str
    path: Path
    source: str

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def lines(self) -> int:
        return self.source.count("\n")

    @property
    def header(self) -> str:
        return ast.get_docstring(ast.parse(self.source), clean=True) or ""


def application_modules() -> dict[str, Module]:
    """Return all modules of the application by dotted name, packages too."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            relative = path.relative_to(ROOT)
            parts = relative.with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = Module(name, relative, path.read_text("utf-8"))
    return found


def importers(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    """Return by module the modules that import it, inside functions too."""
    found: dict[str, set[str]] = defaultdict(set)
    for module in modules.values():
        for node in ast.walk(ast.parse(module.source)):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [name if name in modules else node.module for name in inner]
            for name in names:
                if name in modules and name != module.name:
                    found[name].add(module.name)
    return found


def callers_sentence(name: str, callers: set[str], modules: Mapping[str, Module]) -> str:
    """Return the sentence that a module's header ends with, empty for a module nobody imports."""
    if not callers:
        return ""
    if len(callers) <= NAMED_MODULES:
        own = modules[name].path.parent
        shown = sorted(_shown(modules[caller].path, own) for caller in callers)
        return f"Called by {_listed(shown)}."
    packages = sorted({_package(modules[caller].path) for caller in callers})
    if len(packages) > NAMED_PACKAGES:
        return "Used throughout the application."
    return f"Used by {_listed(packages)}."


def expected_callers() -> dict[str, str]:
    """Return by module the sentence that its header should have, without packages."""
    modules = application_modules()
    who = importers(modules)
    return {
        name: callers_sentence(name, who[name], modules)
        for name, module in modules.items()
        if not module.is_package
    }


def _shown(path: Path, own: Path) -> str:
    return f"`{path.name if path.parent == own else path.as_posix().removeprefix('geo_platform/')}`"


def _package(path: Path) -> str:
    return f"`{path.parent.as_posix().removeprefix('geo_platform/')}`"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _rewritten(module: Module, sentence: str) -> str:
    """Return the source with the sentence as the last paragraph of its header."""
    node = ast.parse(module.source).body[0]
    assert isinstance(node, ast.Expr)
    kept = [
        part
        for part in module.header.split("\n\n")
        if not part.startswith(("Called by `", "Used by `", "Used throughout the application."))
    ]
    added = [textwrap.fill(sentence, WIDTH, break_on_hyphens=False)] if sentence else []
    text = "\n\n".join([*kept, *added]).replace("\\", "\\\\")
    end = "\n" if "\n" in text else ""
    lines = module.source.split("\n")
    lines[: node.end_lineno] = f'"""{text}{end}"""'.split("\n")
    return "\n".join(lines)


def main() -> None:
    """Rewrite the headers of all modules whose callers changed."""
    modules = application_modules()
    for name, sentence in expected_callers().items():
        module = modules[name]
        changed = _rewritten(module, sentence)
        if changed != module.source:
            (ROOT / module.path).write_text(changed, "utf-8")


if __name__ == "__main__":
    main()
