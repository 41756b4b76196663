"""Free text search: whole words or phrases in title, description and keywords, in any case.

Source: https://github.com/stac-api-extensions/freetext-search, basic.

Used by `serving/stac`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any


def has_term(properties: Mapping[str, Any], terms: Sequence[str]) -> bool:
    """Return whether one of the terms is in the title, the description or a keyword."""
    keywords = properties.get("keywords")
    words = keywords if isinstance(keywords, list) else ()
    texts = (properties.get("title"), properties.get("description"), *words)
    text = "\n".join(str(text) for text in texts if text is not None)
    return any(re.search(_pattern(term), text, re.IGNORECASE) for term in terms)


def postgres_pattern(term: str) -> str:
    """Return PostgreSQL's regular expression of a term, for the operator `~*`."""
    return rf"(?<!\w){literal_pattern(term)}(?!\w)"


def literal_pattern(text: str) -> str:
    r"""Return PostgreSQL's regular expression that matches this text only, by `\u` escapes."""
    return "".join(
        character if character.isascii() and character.isalnum() else escaped(character)
        for character in text
    )


def escaped(character: str) -> str:
    """Return PostgreSQL's escape of one character in a regular expression."""
    return f"\\U{ord(character):08X}" if ord(character) > 0xFFFF else f"\\u{ord(character):04X}"


def _pattern(term: str) -> str:
    return rf"(?<!\w){re.escape(term)}(?!\w)"
