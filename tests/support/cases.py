"""Small inputs that once went wrong, in `tests/cases/files`, and how a test ingests them."""

from pathlib import Path
from typing import Any

from tests.support.in_process import geo_platform_here
from tests.support.production import ProfileUnderTest

CASES = Path(__file__).parents[1] / "cases" / "files"


def ingest(
    profile: ProfileUnderTest, home: Path, source: Path | str, *options: str
) -> dict[str, Any]:
    """Ingest a case, named by its file name, or a file at a path; return the line of the output."""
    path = CASES / source if isinstance(source, str) else source
    ended = geo_platform_here(
        "ingest", "--json", path, *options, home=home, extra=profile.environment
    )
    (line,) = ended.lines
    return dict(line)
