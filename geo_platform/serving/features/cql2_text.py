"""Parse CQL2 text into CQL2 JSON, exactly and safely.

The package `cql2` reads every number as a 64-bit float, which rounds integers above 2^53, and
overflows the stack of the process if an expression is nested too deeply. So large integers are
passed through it as text, and the length and depth of the text are limited before.

Called by `conditions.py` and `query.py`.
"""

import json
import re
from typing import Any

from geo_platform.errors import QueryInvalid

MAX_CHARACTERS = 20_000
# Of brackets, of NOT and of minus signs. The parser itself fails somewhat above 1,000.
MAX_DEPTH = 100

# Begins the text of a large integer. No key on a keyboard makes this character.
_MARK = "\ue000integer:"
# Quoted text and names, which stay as they are, or an integer of 16 digits and more.
_LARGE = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|(?<![\w.])\d{16,}(?![\w.])""")
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*\"""")
_NESTING = re.compile(r"\bnot\b|-\s*(?=[-(])", re.IGNORECASE)


def parse_text(text: str) -> Any:
    """Return the expression as CQL2 JSON.

    Raises QueryInvalid: it is not CQL2, or is too long or nested too deeply.
    """
    # Imported here: commands that serve nobody do not need it.
    import cql2

    check_length(text)
    if _depth(text) > MAX_DEPTH:
        raise too_deep()
    marked = _LARGE.sub(
        lambda found: found[0] if found[0][0] in "'\"" else f"'{_MARK}{found[0]}'", text
    )
    try:
        return _unmarked(cql2.parse_text(marked).to_json())
    except (cql2.ParseError, cql2.ValidationError, ValueError) as error:
        reason = str(error).strip().splitlines() or ["it cannot be parsed"]
        raise QueryInvalid(f"The filter is not CQL2 text: {' '.join(reason)[:300]}") from error


def parse_json(text: str) -> Any:
    """Return the expression as CQL2 JSON. Raises what `parse_text` raises."""
    check_length(text)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise QueryInvalid(f"The filter is not JSON: {str(error)[:200]}.") from error


def check_length(text: str) -> None:
    """Raise QueryInvalid: the text of the filter is too long."""
    if len(text) > MAX_CHARACTERS:
        raise QueryInvalid(f"The filter is longer than {MAX_CHARACTERS:,} characters.")


def too_deep() -> QueryInvalid:
    return QueryInvalid(f"The filter is nested more than {MAX_DEPTH} levels deep.")


def _depth(text: str) -> int:
    plain = _QUOTED.sub("", text)
    depth = deepest = 0
    for character in plain:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    return deepest + len(_NESTING.findall(plain))


def _unmarked(node: Any) -> Any:
    if isinstance(node, str) and node.startswith(_MARK):
        return int(node.removeprefix(_MARK))
    if isinstance(node, list):
        return [_unmarked(each) for each in node]
    if isinstance(node, dict):
        return {name: _unmarked(each) for name, each in node.items()}
    return node
