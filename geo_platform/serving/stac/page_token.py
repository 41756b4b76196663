"""Page tokens: the place of the last item of a page in the order of a search.

A token holds the sort values of that item, not a number of rows to skip, so that items that are
published or unpublished between two pages make no other item be skipped or repeated. It also holds
how many items matched, which is counted once.

Called by `collection_search.py`, `database_search.py` and `file_search.py`.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from geo_platform.errors import QueryInvalid


@dataclass(frozen=True)
class PagePlace:
    """`values` are those of the sort keys, None where the item has none; `matched` may be None."""

    values: tuple[Any, ...]
    matched: int | None

    def token(self, digest: str) -> str:
        """Return the token, for the search with this digest."""
        text = json.dumps([digest, self.matched, list(self.values)], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_token(token: str, digest: str, keys: int) -> PagePlace:
    """Return the place in a token. `keys` is how many values it must have.

    Raises QueryInvalid: it is not a token of this search.
    """
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        made_for, matched, values = json.loads(text)
    except (ValueError, TypeError, RecursionError, binascii.Error) as error:
        raise _invalid("it is damaged") from error
    if made_for != digest:
        raise _invalid("it belongs to a search with other parameters")
    is_valid = isinstance(values, list) and len(values) == keys and _is_count(matched)
    if not is_valid or "\\u0000" in json.dumps(values):
        raise _invalid("it is damaged")
    return PagePlace(tuple(values), matched)


def _is_count(matched: Any) -> bool:
    return matched is None or (type(matched) is int and 0 <= matched < 1 << 53)


def _invalid(reason: str) -> QueryInvalid:
    return QueryInvalid(
        f"token: {reason}.",
        remedy="Follow the link `next` of a page unchanged, or begin again without a token.",
    )
