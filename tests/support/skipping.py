"""Handle a test that this machine cannot run."""

import os
from typing import NoReturn

import pytest

SKIP_NOTHING = "GEO_PLATFORM_TESTS_SKIP_NOTHING"


def cannot_run(reason: str) -> NoReturn:
    """Skip loudly, or fail where skips are forbidden."""
    if os.environ.get(SKIP_NOTHING):
        pytest.fail(reason)
    pytest.skip(reason)
