"""Find the application root and make it importable.

The root is the folder that holds workspace.yaml beside assets/, resources/ and schedules/: a
checkout, a folder made by `geo-platform init`, or the copy that the wheel carries.
`docs/decisions/0028` has the reasons.

Used by `cli/commands`, `cli` and `geo_platform`.
"""

import sys
from pathlib import Path

APPLICATION_MARKER = "workspace.yaml"

# The wheel's copy of the application, which setup.py adds. A checkout does not have it.
_WHEEL_COPY = Path(__file__).resolve().parent / "application"


def find_application_root(
    explicit: Path | None = None, *, start: Path | None = None
) -> Path | None:
    """Return the folder that holds workspace.yaml, or None if there is none.

    An explicit folder is returned unchecked. Otherwise the search order is: `start` (by default the
    current folder), its parents, then the application of this installation.
    """
    if explicit is not None:
        return explicit.expanduser().absolute()
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        if (folder / APPLICATION_MARKER).is_file():
            return folder
    return shipped_application()


def shipped_application() -> Path | None:
    """Return the application of this installation, or None.

    It is the checkout that contains the package, or the copy in the wheel.
    """
    beside_package = Path(__file__).resolve().parent.parent
    candidates = (beside_package, _WHEEL_COPY)
    return next((folder for folder in candidates if (folder / APPLICATION_MARKER).is_file()), None)


def is_in_the_wheel(root: Path) -> bool:
    """Return whether the root is the wheel's copy, where nothing may be written."""
    return root.resolve() == _WHEEL_COPY


def make_importable(root: Path) -> None:
    """Put the root first on the import path, so that its assets, resources and schedules are used.

    Nothing else changes the import path. Code locations do not need this function: Dagster puts the
    working directory that workspace.yaml names on the path.
    """
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
