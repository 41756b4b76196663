"""A Dagster of a test's own whose sensors take nothing in: the test itself asks for the runs of what it puts there.

What belongs here: the file of watches that says so. What stays out: tests of arrivals, which watch.
"""

from pathlib import Path

NOTHING = '[[watch]]\nname = "nothing"\nprefix = "nobody puts anything here/"\n'


def watching_nothing(folder: Path) -> dict[str, str]:
    """Environment of a code location; the file lies in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "watches.toml"
    file.write_text(NOTHING, encoding="utf-8")
    return {"GEO_PLATFORM_WATCHES": str(file)}
