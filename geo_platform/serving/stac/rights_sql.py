"""Translate rights and their shell-style patterns into SQL conditions on pgSTAC's items.

The condition holds for exactly the items that `Rights.allows` allows.

Called by `database_search.py`.
"""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from psycopg import sql

from geo_platform.ports import ITEM_SOURCE_CONTAINER
from geo_platform.serving.rights import ITEM_DATASET, Rights
from geo_platform.serving.stac.free_text import escaped

_NEVER = sql.SQL("FALSE")
_CONTAINER = sql.SQL("coalesce(content->'properties'->>{name}, '')").format(
    name=sql.Literal(ITEM_SOURCE_CONTAINER)
)
_DATASET = sql.SQL("coalesce(nullif(content->'properties'->>{name}, ''), id)").format(
    name=sql.Literal(ITEM_DATASET)
)


def rights_condition(rights: Rights, collections: Sequence[str]) -> sql.Composable | None:
    """Return the condition of the rights, or None if they allow every item.

    `collections` are all collections of the database.
    """
    conditions: list[sql.Composable] = []
    if rights.collections:
        allowed = [
            name
            for name in collections
            if any(fnmatchcase(name, pattern) for pattern in rights.collections)
        ]
        conditions.append(sql.SQL("collection = ANY ({})").format(sql.Literal(allowed)))
    if rights.containers:
        conditions.append(_matches(_CONTAINER, rights.containers))
    if rights.datasets:
        conditions.append(_matches(_DATASET, rights.datasets))
    return sql.SQL("({})").format(sql.SQL(" AND ").join(conditions)) if conditions else None


def _matches(text: sql.Composable, patterns: Sequence[str]) -> sql.Composable:
    regexes = [regex for pattern in patterns if (regex := postgres_regex(pattern)) is not None]
    if not regexes:
        return _NEVER
    return sql.SQL("({} ~ {})").format(text, sql.Literal("|".join(regexes)))


def postgres_regex(pattern: str) -> str | None:
    """Return PostgreSQL's regular expression of a shell-style pattern, as `fnmatchcase` reads it.

    Return None if no text of PostgreSQL can match: it has no null character and no surrogates.
    """
    parts: list[str] = []
    for part in _parts(pattern):
        if part == "*":
            parts.append(".*")
        elif part == "?":
            parts.append(".")
        elif len(part) > 1:
            regex = _character_class(part[1:-1])
            if regex is None:
                return None
            parts.append(regex)
        elif not _is_storable(part):
            return None
        else:
            parts.append(escaped(part))
    return f"^{''.join(parts)}$"


def _parts(pattern: str) -> Iterator[str]:
    """Yield `*`, `?`, a whole `[...]` and, escaped from these meanings, single characters."""
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "[":
            start = position + 1 + (pattern[position + 1 : position + 2] == "!")
            end = pattern.find("]", start + 1)
            if end >= 0:
                yield pattern[position : end + 1]
                position = end + 1
                continue
        yield character
        position += 1


def _character_class(content: str) -> str | None:
    """Return the regular expression of the content of `[...]`, or None if nothing matches it."""
    is_negated = content.startswith("!")
    kept = "".join(_ranges(content[1:] if is_negated else content))
    if not is_negated and kept.startswith("!"):
        # fnmatch drops empty ranges first, and then looks for the negation.
        is_negated, kept = True, kept[1:]
    ends = [(ord(each[0]), ord(each[-1])) for each in _ranges(kept)]
    inside = "".join(
        escaped(chr(low)) if low == high else f"{escaped(chr(low))}-{escaped(chr(high))}"
        for low, high in _storable(ends)
    )
    if not inside:
        return "." if is_negated else None
    return f"[{'^' if is_negated else ''}{inside}]"


def _ranges(content: str) -> Iterator[str]:
    """Yield each character and each range such as `a-z` that is not empty."""
    position = 0
    while position < len(content):
        length = 3 if content[position + 1 : position + 2] == "-" else 1
        part = content[position : position + length]
        if len(part) == 2:  # A hyphen at the end is itself.
            part = part[0]
        if part[0] <= part[-1]:
            yield part
        position += len(part)


def _storable(ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the parts of the ranges that PostgreSQL can store."""
    for low, high in ranges:
        for first, last in ((max(low, 1), min(high, 0xD7FF)), (max(low, 0xE000), high)):
            if first <= last:
                yield first, last


def _is_storable(character: str) -> bool:
    return character != "\0" and not 0xD800 <= ord(character) <= 0xDFFF
