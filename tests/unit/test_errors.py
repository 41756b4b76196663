"""The error tree: stable codes, remedies, and the page that lists them."""

import pickle
import re
from pathlib import Path

import pytest

from geo_platform.errors import (
    InputRefused,
    PlatformError,
    PlatformFault,
    SourceRefused,
    error_leaves,
)

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = set(
    re.findall(
        r"[A-Z0-9_]+",
        """
SOURCE_NOT_FOUND SOURCE_EMPTY SOURCE_UNREADABLE SOURCE_TRUNCATED UNSUPPORTED_FORMAT ARCHIVE_UNSAFE
DECOMPRESSION_BOMB CRS_MISSING CRS_MISMATCH BOUNDS_IMPLAUSIBLE GEOTRANSFORM_MISSING RASTER_EMPTY
RASTER_64BIT_REJECTED RASTER_TYPE_MISMATCH NODATA_CONFLICT COG_INVALID LAYER_AMBIGUOUS
LAYER_NOT_FOUND NO_FEATURES NO_GEOMETRY GEOMETRY_MIXED GEOMETRY_UNREPAIRABLE FIELD_ENCODING
TABLE_NAME_INVALID TABLE_EXISTS PARAMETER_INVALID MEMORY_EXCEEDED TIME_EXCEEDED STORE_UNAVAILABLE
STORE_DENIED DATABASE_UNAVAILABLE CATALOG_REJECTED CONFLICT
""",
    )
)


def test_every_code_of_the_contract_has_one_leaf() -> None:
    codes = [leaf.code for leaf in error_leaves()]
    assert len(codes) == len(set(codes))
    http = {
        "UNAUTHENTICATED",
        "FORBIDDEN",
        "RATE_EXCEEDED",
        "BODY_TOO_LARGE",
        "NOT_FOUND",
        "RUN_CANCELED",
    }
    assert set(codes) == {
        *CONTRACT,
        *http,
        "UNEXPECTED_FAULT",
        "MESSAGE_UNREADABLE",
        "FILES_REFUSED",
        "VERSION_GONE",
        "FILES_FAILED",
    }


@pytest.mark.parametrize("leaf", error_leaves(), ids=lambda leaf: leaf.code)
def test_a_leaf_has_a_remedy_can_be_pickled_and_is_documented(
    leaf: type[PlatformError],
) -> None:
    error = leaf("the object", size_bytes=3)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes
    assert copy.as_record() == error.as_record()
    assert copy.details == {"size_bytes": 3}
    assert error.remedy.endswith(".")
    assert error.user_fixable != issubclass(leaf, PlatformFault)
    assert not (issubclass(leaf, InputRefused) and leaf.retryable)
    retried, fixed_by = (
        "yes" if leaf.retryable else "no",
        "you" if leaf.user_fixable else "the platform",
    )
    assert f"| `{leaf.code}` | {retried} | {fixed_by} | {leaf.default_remedy} |" in (
        ROOT / "docs" / "errors.md"
    ).read_text("utf-8")


def test_a_branch_is_never_raised() -> None:
    with pytest.raises(TypeError, match="branch"):
        SourceRefused("x")
