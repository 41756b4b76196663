"""Turn off the watches of a test's Dagster, so that the test itself requests all runs."""

from pathlib import Path

NOTHING = '[[watch]]\nname = "nothing"\nprefix = "nobody puts anything here/"\n'


def watching_nothing(folder: Path) -> dict[str, str]:
    """Write a watch that matches nothing into `folder`; return the variables that select it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "watches.toml"
    file.write_text(NOTHING, encoding="utf-8")
    return {"GEO_PLATFORM_WATCHES": str(file)}
