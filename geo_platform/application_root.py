"""Find the application root and make it importable.

The root is the folder that holds workspace.yaml beside assets/, resources/ and schedules/: a
checkout, a folder made by `geo-platform init`, or the copy that the wheel carries.
`docs/decisions/0028` has the reasons.
"""

import sys
from pathlib import Path

APPLICATION_MARKER = "workspace.yaml"

# The wheel's copy of the application, laid there by setup.py. A checkout does not have it.
_IN_THE_WHEEL = Path(__file__).resolve().parent / "application"


def find_application_root(
    explicit: Path | None = None, *, start: Path | None = None
) -> Path | None:
    """Return the folder that holds workspace.yaml, or None if there is none.

    The explicit folder comes first and is not checked; then the current folder and its parents;
    then the shipped application.
    """
    if explicit is not None:
        return explicit.expanduser().absolute()
    here = (start or Path.cwd()).absolute()
    for folder in (here, *here.parents):
        if (folder / APPLICATION_MARKER).is_file():
            return folder
    return shipped_application()


def shipped_application() -> Path | None:
    """Return the application of this installation: the checkout beside the package, or the wheel's
    copy.
    """
    beside_package = Path(__file__).resolve().parent.parent
    candidates = (beside_package, _IN_THE_WHEEL)
    return next((folder for folder in candidates if (folder / APPLICATION_MARKER).is_file()), None)


def is_in_the_wheel(root: Path) -> bool:
    """Return whether the root is the wheel's copy, where nothing may be written."""
    return root.resolve() == _IN_THE_WHEEL


def make_importable(root: Path) -> None:
    """Put the root first on the import path, so that assets, resources and schedules are its own.

    The only place that changes the import path. Code locations do not need it: Dagster takes the
    working directory of workspace.yaml.
    """
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
