"""What happens to a test that this machine cannot run."""

import os
from typing import NoReturn

import pytest

SKIP_NOTHING = "GEO_PLATFORM_TESTS_SKIP_NOTHING"


def cannot_run(reason: str) -> NoReturn:
    """A loud skip for people, a failure where nothing may be skipped."""
    if os.environ.get(SKIP_NOTHING):
        pytest.fail(reason)
    pytest.skip(reason)
